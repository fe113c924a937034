"""The GPUs and CPU cores that a process can use on this machine or in this container."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ASKED_GPUS = "EMBEDSTEP_GPUS"
"""Environment variable with the number of GPUs that a pipeline has requested for the step."""
_BFLOAT16 = r"[89]\.|\d\d+\."
"""Compute capabilities from 8.0, NVIDIA's Ampere, which was the first to compute in bfloat16."""
_UUIDS = ("GPU-", "MIG-")
"""Beginnings of the ids of whole GPUs and of their partitions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Devices:
    """The devices of a node.

    Attributes:
        gpus: number of visible GPUs.
        cores: number of usable CPU cores.
    """

    gpus: int
    cores: int


def visible_gpus(environ: Mapping[str, str], device_folder: Path = Path("/dev")) -> int:
    """Count the GPUs that a CUDA program would see, without loading CUDA.

    As in CUDA, `CUDA_VISIBLE_DEVICES` lists them up to the first entry that names none, such as `-1` or Slurm's
    `NoDevFiles`; without the variable each `/dev/nvidia<number>` counts.
    """
    present = sum(path.name.removeprefix("nvidia").isdecimal() for path in device_folder.glob("nvidia*"))
    return len(listed_gpus(environ, present)) if present else 0


def listed_gpus(environ: Mapping[str, str], present: int) -> list[str]:
    """Return the entries of `CUDA_VISIBLE_DEVICES`, or the indices of all present GPUs without the variable."""
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return [str(number) for number in range(present)]
    entries = [part.strip() for part in listed.split(",") if part.strip()]
    return list(takewhile(lambda entry: entry.isdecimal() or entry.startswith(_UUIDS), entries))


def compute_in_bfloat16() -> bool:
    """Whether all GPUs of this machine compute in bfloat16, as its driver says; False where it does not."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return False
    return bool(listed) and all(re.match(_BFLOAT16, capability) for capability in listed)


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Count the CPU cores of this process's affinity, up to the limit of its container.

    A pod that is limited to 4 of 64 cores sees all of them, and 64 threads on 4 cores wait for each other. The limit is
    the quota of CPU time per period, in `cpu.max` (cgroup v2) or in two files (v1).
    """
    bound = len(os.sched_getaffinity(0))
    for quota, period in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            limit = " ".join((cgroup / name).read_text() for name in (quota, period) if name).split()
        except OSError:
            continue
        if limit[0].isdecimal():  # not "max" or -1, which mean no limit
            return max(1, min(bound, int(limit[0]) // int(limit[1])))
    return bound
