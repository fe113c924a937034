"""Whole runs in processes of their own: resuming half precision, what is recorded of a GPU, and several GPUs."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.report.run import GPU_METRICS
from embedstep.runtime.devices import listed_gpus
from tests.conftest import Outcome
from tests.gpu.needs import GPU, GPUS, TWO_GPUS

# A fork of a process that has asked CUDA for its devices cannot use them.
pytestmark = [*GPU, pytest.mark.interpreter]
Build = Callable[..., dict[str, Any]]
Run = Callable[..., Outcome]
ALL_GPUS = ",".join(listed_gpus(os.environ, GPUS))
"""Read before a test leaves one of them to CUDA."""


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_resumes_to_the_same_bits(request_of: Build, embedstep_run: Run, precision: str) -> None:
    """The loss scale of fp16 too: a new one would have counted only the steps since."""
    document = request_of(
        arguments={
            precision: True, "full_determinism": True, "max_steps": 8, "save_strategy": "steps", "save_steps": 4,
            "logging_steps": 1,
        }
    )  # fmt: skip
    whole = embedstep_run(document)
    assert whole.code == 0, whole.err
    checkpoints = whole.output / "checkpoints"
    bits, scaler = whole.json("result.json")["weights_sha256"], scaler_of(checkpoints / "checkpoint-8")
    assert (scaler is not None) == (precision == "fp16")
    shutil.rmtree(checkpoints / "checkpoint-8")
    shutil.rmtree(whole.output / "model")
    (whole.output / "result.json").unlink()
    resumed = embedstep_run(document)
    assert resumed.code == 0, resumed.err
    assert "resuming after train step 4 of 8" in resumed.err + resumed.out
    assert scaler_of(checkpoints / "checkpoint-8") == scaler
    assert resumed.json("result.json")["weights_sha256"] == bits


def scaler_of(checkpoint: Path) -> Any:
    """What a checkpoint keeps of the loss scale: the scale, and the steps since it has last changed."""
    import torch

    file = checkpoint / "scaler.pt"
    return torch.load(file, weights_only=True) if file.exists() else None


def test_memory_and_utilization_are_in_mlflow_and_in_the_report(
    evaluated: Build, embedstep_run: Run, own_uri: str
) -> None:
    from mlflow import MlflowClient

    outcome = embedstep_run(evaluated(tracking={"kind": "mlflow", "uri": own_uri}, arguments={"max_steps": 200}))
    assert outcome.code == 0, outcome.err
    metrics = MlflowClient(own_uri).get_run(outcome.json("result.json")["run_id"]).data.metrics
    used, memory = (
        [value for name, value in metrics.items() if re.fullmatch(rf"system/gpu_\d+_{end}", name)]
        for end in GPU_METRICS
    )
    assert len(memory) == len(used) > 0
    assert max(memory) > 0
    assert all(0 <= value <= 100 for value in used)
    page = (outcome.output / "report.html").read_text()
    assert [title for title in (*GPU_METRICS.values(), "GPU-hours") if title not in page] == []
    assert metrics["gpu_hours"] > 0


@TWO_GPUS
@pytest.mark.parametrize(("asked", "processes"), [("auto", 2), (2, 2), (1, 1)])
def test_each_process_trains_on_a_gpu_of_its_own(
    request_of: Build, embedstep_run: Run, asked: object, processes: int
) -> None:
    two = ",".join(ALL_GPUS.split(",")[:2])
    document = request_of(launch={"processes_per_node": asked})
    outcome = embedstep_run(document, environ={"CUDA_VISIBLE_DEVICES": two})
    assert outcome.code == 0, outcome.err
    assert outcome.json("plan.json")["world_size"] == processes
    (attempt,) = json.loads((outcome.output / "attempts.json").read_text())
    assert (attempt["processes"], attempt["device"]) == (processes, "GPU")
