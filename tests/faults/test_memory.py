"""The memory limit of a cgroup, as Kubernetes sets it for a pod."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Fault
from tests.faults.processes import Attempt, faulty

Build = Callable[..., dict[str, Any]]
LIMIT = 4_000_000_000


@pytest.fixture
def cgroup(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A cgroup with a limit: the file to write one's own number to."""
    first = Path("/sys/fs/cgroup/memory")
    root, limit = (first, "memory.limit_in_bytes") if first.is_dir() else (first.parent, "memory.max")
    folder = root / f"embedstep-{os.getpid()}"
    folder.mkdir()
    (folder / limit).write_text(str(getattr(request, "param", LIMIT)))
    yield folder / "cgroup.procs"
    folder.rmdir()


@pytest.mark.fault("a rank takes more memory than its cgroup has", "training, 2 processes")
@pytest.mark.torchrun
@pytest.mark.slow
def test_a_memory_limit_is_named(request_of: Build, fault: Fault, cgroup: Path, tmp_path: Path) -> None:
    """The kernel ends the rank without a word; what it counts for the cgroup says why. Code 4 is not tried again."""
    request = request_of(launch={"processes_per_node": 2})
    attempt = Attempt(tmp_path, request, "cut", **faulty("hoard", "step", rank=1))
    cgroup.write_text(str(attempt.process.pid))
    attempt.ends(4)
    error = json.loads((attempt.output / "error.json").read_text())
    assert error["message"].startswith(
        "rank 1 was killed by SIGKILL, because the memory limit was reached: 4.00 GB for all processes, peak usage "
    )
    assert error["message"].endswith(" GB")
    assert (error["rank"], error["host"]) == (1, os.uname().nodename)
    fault.came_to("4, limit and peak named", None)


@pytest.mark.fault("a memory limit below what the model needs to be trained", "start-up")
@pytest.mark.parametrize("cgroup", [600_000_000], indirect=True)
@pytest.mark.slow
def test_a_limit_that_cannot_do_is_reported_at_once(
    request_of: Build, minilm: Path, fault: Fault, cgroup: Path, tmp_path: Path
) -> None:
    request = {**request_of(launch={"processes_per_node": 2}), "model": str(minilm)}
    attempt = Attempt(tmp_path, request, "cut")
    cgroup.write_text(str(attempt.process.pid))
    shown = attempt.ends(3)
    assert (
        "the memory limit is 0.6 GB, and 2 processes with the model, its gradients and what the optimizer keeps need"
        in shown
    )
    fault.came_to("3, before a process is started", None)


@pytest.mark.fault("a /dev/shm of 1 MB, and loader workers", "start-up")
@pytest.mark.slow
def test_a_small_shared_memory_is_reported_at_once(request_of: Build, fault: Fault, tmp_path: Path) -> None:
    """Docker gives 64 MB; a worker that finds none left dies by SIGBUS."""
    arguments = {"dataloader_num_workers": 4, "per_device_train_batch_size": 64}
    (tmp_path / "request.yaml").write_text(json.dumps(request_of(arguments=arguments)))
    run = f"{sys.executable} -m embedstep run request.yaml --output cut"
    inside = f"mount -t tmpfs -o size=1m none /dev/shm && exec {run}"
    process = subprocess.run(
        ["unshare", "--mount", "sh", "-c", inside],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert process.returncode == 3, process.stderr
    assert (
        "/dev/shm has 1 MB free, and the batches that 4 data loader workers keep ready may take 3 MB" in process.stderr
    )
    fault.came_to("3, before a process is started", None)
