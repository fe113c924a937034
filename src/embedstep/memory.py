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
            # In a container the path may be that of the host, and the own group is what is mounted.
            for folder in (root / path.lstrip("/"), root):
                if (folder / "memory.max").exists():
                    kills = _number(folder / "memory.events", r"oom_kill (\d+)")
                    return _memory(folder / "memory.max", folder / "memory.peak", kills)
        if "memory" in controllers.split(","):
            for folder in (root / "memory" / path.lstrip("/"), root / "memory"):
                if (folder / "memory.limit_in_bytes").exists():
                    kills = _number(folder / "memory.oom_control", r"oom_kill (\d+)")
                    return _memory(folder / "memory.limit_in_bytes", folder / "memory.max_usage_in_bytes", kills)
    return None


def _memory(limit: Path, peak: Path, kills: int | None) -> CgroupMemory:
    found = _number(limit)
    return CgroupMemory(
        limit=None if found is None or found > _NO_LIMIT else found, peak=_number(peak), kills=kills or 0
    )


def _number(file: Path, pattern: str = r"(\d+)") -> int | None:
    try:
        found = re.search(pattern, file.read_text())
    except OSError:
        return None
    return int(found[1]) if found else None
