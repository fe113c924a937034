"""The properties of the class, worked out without torch, against those of the installed class in real processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embedstep import TrainingArguments

pytestmark = pytest.mark.torchrun


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    "given",
    [
        {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 2, "ddp_timeout": 77},
        {"log_level": "info", "log_level_replica": "error", "log_on_each_node": False},
    ],
    ids=["sizes", "levels"],
)
def test_properties_are_those_of_the_installed_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, given: dict[str, Any]
) -> None:
    backend = {"ddp_backend": "gloo"} if processes > 1 else {}
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
         str(Path(__file__).parent / "properties.py"), str(tmp_path), json.dumps({**given, **backend})],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    for rank in range(processes):
        found = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        torchrun = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": processes}
        torchrun["LOCAL_WORLD_SIZE"] = processes
        for name, value in torchrun.items():
            monkeypatch.setenv(name, str(value))
        ours = TrainingArguments(**given, use_cpu=True)
        for name in ("n_gpu", "world_size", "process_index", "local_process_index", "train_batch_size",
                     "eval_batch_size", "should_log", "should_save", "device"):  # fmt: skip
            assert getattr(ours, name) == found[name], name
        # torchrun with one process builds a group of one, which the class calls distributed.
        assert found["parallel_mode"] in (ours.parallel_mode, "distributed")
        assert ours.ddp_timeout_delta.total_seconds() == found["timeout"]
        if "log_level" in given:
            assert ours.get_process_log_level() == found["log_level"]
    if processes == 2:
        order = [json.loads((tmp_path / f"rank-{rank}.json").read_text())["came_second"] for rank in range(2)]
        assert order == [False, True]
