"""A training that ends because it no longer improves: when, with which model, and after an interruption."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.worker.trainer.publisher import CheckpointPublisher
from embedstep.worker.trainer.stopping import EarlyStopping
from tests.faults.looking import interrupt

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
LOSSES = (0.9, 0.5, 0.6, 0.51, 0.7, 0.1)
"""Of the evaluations, one after each train step. The second is the best that a patience of 2 leaves."""
ARGUMENTS = {
    "max_steps": 6, "logging_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps",
    "save_steps": 1, "load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": False,
}  # fmt: skip


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the evaluations find `LOSSES` by their train step; returns the steps with one."""
    from transformers import Trainer

    seen: list[int] = []
    evaluation_loop = Trainer.evaluation_loop

    def found(self: Any, *arguments: Any, **options: Any) -> Any:
        output = evaluation_loop(self, *arguments, **options)
        if "eval_loss" in output.metrics:
            seen.append(self.state.global_step)
            output.metrics["eval_loss"] = LOSSES[self.state.global_step - 1]
        return output

    monkeypatch.setattr(Trainer, "evaluation_loop", found)
    return seen


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("patience", "threshold", "ended"),
    [(2, 0.0, 4), (3, 0.0, 5), (1, 0.0, 3), (1, 0.5, 2), (2, 0.5, 3), (5, 0.0, None)],
)
def test_evaluations_without_a_gain_are_counted(patience: int, threshold: float, ended: int | None) -> None:
    arguments = SimpleNamespace(
        metric_for_best_model="loss", greater_is_better=False, eval_strategy="steps", load_best_model_at_end=True
    )
    early, control = EarlyStopping(patience, threshold), SimpleNamespace(should_training_stop=False)
    state = SimpleNamespace(best_metric=None, global_step=0, max_steps=6)
    early.on_train_begin(arguments, state, control)
    for loss in LOSSES:
        state.global_step += 1
        early.on_evaluate(arguments, state, control, {"eval_more_loss": 0.0})
        early.on_evaluate(arguments, state, control, {"eval_loss": loss})
        if control.should_training_stop:
            break
        state.best_metric = min(loss, state.best_metric or 1.0)
    assert early.stopped_after == ended


def test_the_best_model_is_published(train_here: Train, evaluated: Build, script: list[int], tmp_path: Path) -> None:
    result = train_here(evaluated(arguments=ARGUMENTS, early_stopping={"patience": 2}))
    assert (result.exit_code, result.train_steps) == (0, 4), result.failure
    assert result.stop_reason == "early_stopping: 2 evaluations without a gain, after 4 of 6 train steps"
    output = tmp_path / "output"
    assert weights(output / "model") == weights(output / "checkpoints" / "checkpoint-2")
    assert result.metrics["eval_loss"] == 0.5
    assert script == [1, 2, 3, 4]


@pytest.mark.parametrize("at", [pytest.param(3, marks=pytest.mark.slow), 4])
def test_the_count_outlives_an_interruption(
    train_here: Train, evaluated: Build, script: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: int
) -> None:
    """It comes after the checkpoint of a step, of which the last is the one at which the training ends."""
    request = evaluated(arguments=ARGUMENTS, early_stopping={"patience": 2})
    whole = train_here(request, "whole")
    publish = CheckpointPublisher._publish

    def publish_and_interrupt(self: Any, written: Path, checkpoint: Path, *kept: Any) -> None:
        publish(self, written, checkpoint, *kept)
        if checkpoint.name == f"checkpoint-{at}":
            interrupt()

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPublisher, "_publish", publish_and_interrupt)
        assert train_here(request, "cut").exit_code == 75
    cut = train_here(request, "cut")
    assert (cut.exit_code, cut.stop_reason) == (0, whole.stop_reason), cut.failure
    assert cut.weights_sha256 == whole.weights_sha256
    steps = [json.loads(line)["train_step"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 4
