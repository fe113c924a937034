"""A tracking server at the other end of a bad line, and a run that several attempts make together."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.tracking.sender import sync
from tests.faults.conftest import Fault
from tests.gateway import Gateway

pytestmark = pytest.mark.slow
Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
ARGUMENTS = {
    "max_steps": 12, "logging_steps": 1, "save_strategy": "steps", "save_steps": 4, "eval_strategy": "steps",
    "eval_steps": 3,
}  # fmt: skip


def missing(server: str, run_id: str | None) -> list[str]:
    """Say which logs MLflow has not, or more than once."""
    from mlflow import MlflowClient

    client = MlflowClient(server)
    found = []
    evaluated = [3, 6, 9, 12]
    for name, steps in (
        ("loss", [*range(1, 13)]),
        ("eval_loss", evaluated),
        ("eval_docs_cosine_ndcg_at_10", evaluated),
    ):
        logged = sorted(point.step for point in client.get_metric_history(str(run_id), name))
        if logged != steps:
            found.append(f"{name} at {logged}")
    return found


@pytest.mark.fault("a line that is {line}", "tracking")
@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ("slow, 0.5 s for each answer", {"seconds": 0.5}),
        ("cut after eight answers", {"closed_after": 8}),
        ("garbling some answers", {"garbled": range(4, 9)}),
    ],
)
def test_a_bad_line(
    train_here: Train, evaluated: Build, server: str, fault: Fault, line: str, faults: dict[str, Any]
) -> None:
    """The training does not notice; what has not arrived is sent by `embedstep sync`, and nothing twice."""
    with Gateway(server, **faults).open() as gateway:
        result = train_here(evaluated(arguments=ARGUMENTS, tracking={"kind": "mlflow", "uri": gateway.url}))
    assert result.exit_code == 0, result.failure
    sent = sync(Path(result.output), server)
    run_id = result.run_id or sent[-1].run_id
    fault.came_to("0", missing(server, run_id))


@pytest.mark.fault("SIGTERM three times, and a failure", "a run of MLflow")
def test_the_attempts_make_one_run(
    train_here: Train, evaluated: Build, server: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each log of the training once, at its step, whatever an attempt had logged beyond its last checkpoint."""
    from embedstep.worker.trainer.stopping import StopController

    request = evaluated(arguments=ARGUMENTS, tracking={"kind": "mlflow", "uri": server})
    step_end = StopController.on_step_end
    codes, runs = [], set()
    for at, fails in ((2, False), (5, False), (7, True), (9, False), (0, False)):

        def on_step_end(
            self: StopController, args: Any, state: Any, *more: Any, at: int = at, fails: bool = fails, **options: Any
        ) -> None:
            if state.global_step == at and fails:
                raise RuntimeError("the end of this attempt")
            if state.global_step == at:
                os.kill(os.getpid(), signal.SIGTERM)
            step_end(self, args, state, *more, **options)

        monkeypatch.setattr(StopController, "on_step_end", on_step_end)
        result = train_here(request)
        codes.append(result.exit_code)
        runs.add(result.run_id)
    assert codes == [75, 75, 1, 75, 0]
    assert len(runs) == 1
    fault.came_to("75, 75, 1, 75, 0", missing(server, result.run_id))
