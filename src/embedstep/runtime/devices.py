"""The GPUs and CPU cores that this machine, or this container of it, gives to a process."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ASKED_GPUS = "EMBEDSTEP_GPUS"
"""Variable with the GPUs that the author of a pipeline has asked for, for the step to compare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """What a node has to compute on.

    Attributes:
        gpus: visible GPUs.
        cores: usable CPU cores.
    """

    gpus: int
    cores: int


def visible_gpus(environ: Mapping[str, str], device_folder: Path = Path("/dev")) -> int:
    """Count the GPUs that a CUDA program would see here, without loading CUDA.

    The rule is CUDA's own: `CUDA_VISIBLE_DEVICES` lists them, and the list ends at the first negative entry; without
    the variable every `/dev/nvidia<number>` counts.
    """
    present = sum(path.name.removeprefix("nvidia").isdecimal() for path in device_folder.glob("nvidia*"))
    return len(listed_gpus(environ, present)) if present else 0


def listed_gpus(environ: Mapping[str, str], present: int) -> list[str]:
    """Return the GPUs by which `CUDA_VISIBLE_DEVICES` names the visible ones of those that are present."""
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(number) for number in range(present)]
    entries = [part.strip() for part in listed.split(",") if part.strip()]
    return list(takewhile(lambda entry: not entry.startswith("-"), entries))


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the CPU cores that this process may use: those it is bound to, and no more than its container's limit.

    A pod that is limited to 4 cores of 64 sees them all, and 64 threads on 4 cores wait for each other. The limit is
    the quota of CPU time in each period, which the kernel tells in `cpu.max` (cgroup v2) or in two files (v1).
    """
    bound = len(os.sched_getaffinity(0))
    for quota, period in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            told = " ".join((cgroup / name).read_text() for name in (quota, period) if name).split()
        except OSError:
            continue
        if told[0].isdecimal():  # "max" and -1 stand for no limit
            return max(1, min(bound, int(told[0]) // int(told[1])))
    return bound
