"""Runs for TensorBoard, with every metric."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedstep.output.result import StepResult
from tests.tracking.logged import logged, scalars

Run = Callable[..., StepResult]
Document = Callable[..., dict[str, Any]]


def test_tensorboard_gets_every_metric(train_here: Run, evaluated: Document, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    tracking = {"kind": "tensorboard", "uri": str(folder), "experiment": "birds", "run_name": "wren"}
    result = train_here(evaluated(tracking=tracking))
    assert (result.exit_code, result.incomplete_tracking) == (0, ())
    assert Path(str(result.tracking_uri)).parent == folder / "birds"
    assert {(step, name.replace("@", "_")) for step, name in logged(result)} <= set(scalars(folder))
