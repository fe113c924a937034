"""Memory limit and usage of this process's cgroup."""

import re
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60
"""Bytes from which a limit counts as none: cgroup v1 writes its largest number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CgroupMemory:
    """Memory of a cgroup.

    Attributes:
        limit: limit of its processes in total, in bytes, or None.
        peak: peak usage in bytes, or None if the kernel does not report it.
        kills: number of processes that were killed for lack of memory.
    """

    limit: int | None
    peak: int | None
    kills: int


def cgroup_memory(root: Path = _ROOT, own: Path = _OWN) -> CgroupMemory | None:
    """Return the memory of this process's cgroup, v1 or v2 (Linux's cgroup-v2.rst, cgroup-v1/memory.rst).

    Args:
        root: mount point of the cgroups.
        own: file that lists the cgroups of this process.

    Returns:
        None if there is no such cgroup.
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
"""Files with limit, peak and kills, of cgroup v1 and v2."""


def _memory(root: Path, path: str, files: tuple[str, str, str]) -> CgroupMemory | None:
    """Return limit and peak of the most limited cgroup among this one and its parents, and the kills of this one.

    In a container the path may be that of the host; the mounted root is this process's cgroup then.
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
