"""The memory that this process and those beside it may take, as the kernel counts it for their cgroup."""

import re
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60
"""Bytes from which a limit is none: the first version of cgroups writes its largest number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CgroupMemory:
    """What a cgroup says of its memory.

    Attributes:
        limit: bytes that its processes may take together, or None.
        peak: the most that they have taken, or None where the kernel does not say.
        kills: how often the kernel has ended one of them for the limit.
    """

    limit: int | None
    peak: int | None
    kills: int


def cgroup_memory(root: Path = _ROOT, own: Path = _OWN) -> CgroupMemory | None:
    """Return the memory of this process's cgroup, of either version (Linux's cgroup-v2.rst, cgroup-v1/memory.rst).

    Args:
        root: where cgroups are mounted.
        own: the file that names those of this process.

    Returns:
        None where there is no such cgroup.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            return _memory(root, path, _SECOND)
        if "memory" in controllers.split(","):
            return _memory(root / "memory", path, _FIRST)
    return None


_FIRST = ("memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control")
_SECOND = ("memory.max", "memory.peak", "memory.events")
"""Files of the limit, the peak and the kills, in both versions."""


def _memory(root: Path, path: str, files: tuple[str, str, str]) -> CgroupMemory | None:
    """Return the smallest limit of a cgroup and those that it is in; its kills are its own, by whichever of them.

    In a container the path may be that of the host, and the own group is what is mounted.
    """
    limit, peak, kills = files
    leaf = root / path.lstrip("/")
    groups = [group for group in (leaf, *leaf.parents) if group.is_relative_to(root) and (group / limit).exists()]
    if not groups:
        return None
    limits = {group: _NO_LIMIT if (found := _number(group / limit)) is None else found for group in groups}
    tightest = min(groups, key=limits.__getitem__)
    return CgroupMemory(
        limit=limits[tightest] if limits[tightest] < _NO_LIMIT else None,
        peak=_number(tightest / peak),
        kills=_number(groups[0] / kills, r"oom_kill (\d+)") or 0,
    )


def _number(file: Path, pattern: str = r"(\d+)") -> int | None:
    try:
        found = re.search(pattern, file.read_text())
    except OSError:
        return None
    return int(found[1]) if found else None
