"""The best model of a training is the one that is published, and the one whose metrics are reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embedstep.output.result import StepResult
from embedstep.worker.trainer.resumable import ResumableTrainer

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
Script = Callable[..., None]
BEST = {
    "max_steps": 4, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "best", "load_best_model_at_end": True,
    "metric_for_best_model": "loss", "greater_is_better": False,
}  # fmt: skip


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Let the evaluations find these losses, one after the other, and more with them."""

    def write(*losses: float, **more: Any) -> None:
        log, left = ResumableTrainer.log, iter(losses)

        def logs(trainer: ResumableTrainer, values: dict[str, Any], *arguments: Any) -> None:
            if "eval_loss" in values:
                values |= {"eval_loss": next(left), **more}
            log(trainer, values, *arguments)

        monkeypatch.setattr(ResumableTrainer, "log", logs)

    return write


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_metric_worsens_after_the_second_of_four_steps(
    train_here: Train, evaluated: Build, script: Script, tmp_path: Path
) -> None:
    """The last model was published without any error."""
    script(0.9, 0.1, 0.5, 0.6)
    result = train_here(evaluated(arguments=BEST))
    output = tmp_path / "output"
    assert weights(output / "model") == weights(output / "checkpoints" / "checkpoint-2")
    assert (result.exit_code, result.metrics["eval_loss"]) == (0, 0.1)


def test_the_best_is_one_that_was_saved(train_here: Train, evaluated: Build, script: Script, tmp_path: Path) -> None:
    """The first evaluation is the best of all, and there is no checkpoint of it."""
    script(0.1, 0.3, 0.2, 0.5)
    result = train_here(evaluated(arguments={**BEST, "save_strategy": "steps", "save_steps": 2}))
    output = tmp_path / "output"
    assert weights(output / "model") == weights(output / "checkpoints" / "checkpoint-2")
    assert (result.exit_code, result.metrics["eval_loss"]) == (0, 0.3)


def test_a_best_model_that_cannot_be_loaded_is_no_success(
    train_here: Train, evaluated: Build, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(trainer: ResumableTrainer, checkpoint: str) -> None:
        raise OSError("the disk is gone")

    script(0.9, 0.1, 0.5, 0.6)
    monkeypatch.setattr(ResumableTrainer, "_load_from_checkpoint", broken)
    result = train_here(evaluated(arguments=BEST))
    assert result.exit_code == 1
    assert result.failure is not None
    assert "the disk is gone" in result.failure.message
    assert not (tmp_path / "output" / "model").exists()


@pytest.mark.parametrize(("value", "reported"), [(torch.tensor(0.5), 0.5), (torch.tensor(0.5).numpy(), 0.5)])
def test_a_metric_that_is_a_tensor_is_a_number(
    train_here: Train, evaluated: Build, script: Script, tmp_path: Path, value: Any, reported: float
) -> None:
    """Otherwise no later checkpoint could be written."""
    script(0.9, 0.1, 0.5, 0.6, eval_mine=value)
    assert train_here(evaluated(arguments=BEST)).metrics["eval_mine"] == reported
    output = tmp_path / "output"
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["eval_mine"] for line in lines if "eval_mine" in line] == [reported] * 4
    history = json.loads((output / "checkpoints" / "checkpoint-2" / "trainer_state.json").read_text())["log_history"]
    assert {log["eval_mine"] for log in history if "eval_mine" in log} == {reported}
