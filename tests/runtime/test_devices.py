"""GPUs and cores, counted as CUDA and the kernel count them."""

import os
from pathlib import Path

import pytest

from embedstep.runtime.devices import compute_in_bfloat16, usable_cores, visible_gpus


@pytest.mark.parametrize(
    ("listed", "gpus"),
    [
        (None, 4), ("0,1", 2), ("", 0), ("-1", 0), ("2,-1,3", 1), ("GPU-8932f937, GPU-1", 2), ("MIG-5f0a", 1),
        ("NoDevFiles", 0),
    ],
)  # fmt: skip
def test_gpus_are_counted_as_cuda_counts_them(tmp_path: Path, listed: str | None, gpus: int) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert visible_gpus({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}, tmp_path) == gpus


def test_no_device_is_no_gpu_whatever_the_variable_says(tmp_path: Path) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0,1"}, tmp_path) == 0


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "99900000 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_the_cores_of_a_limited_container(files: dict[str, str], limit: int | None, tmp_path: Path) -> None:
    """Both forms in which the kernel shows a limit, cgroup v2 and v1."""
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{text}\n")
    assert usable_cores(tmp_path) == (limit or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("script", "is_supported"),
    [
        ("printf '8.0\\n9.0\\n'", True), ("echo 12.0", True), ("echo 7.5", False), ("printf '9.0\\n7.0\\n'", False),
        ("echo '[N/A]'", False), ("true", False), ("exit 9", False), (None, False),
    ],
)  # fmt: skip
def test_bfloat16_is_used_where_the_driver_says_that_all_gpus_compute_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, is_supported: bool
) -> None:
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compute_in_bfloat16() == is_supported
