"""An evaluation ends between two batches where the step is interrupted, and leaves nothing behind."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.worker.trainer.interruptible import InterruptibleTrainer
from tests.faults.looking import interrupt

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]


def test_the_evaluation_of_the_base_can_be_interrupted(
    train_here: Train, evaluated: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = InterruptibleTrainer.run_evaluator

    def interrupted(self: InterruptibleTrainer, steps: int) -> None:
        interrupt()
        run(self, steps)

    monkeypatch.setattr(InterruptibleTrainer, "run_evaluator", interrupted)
    result = train_here(evaluated())
    assert (result.exit_code, result.model) == (75, None)
    assert result.failure is not None
    assert signal.SIGTERM.name in result.failure.message
    assert not list(Path(result.output, "checkpoints").glob("checkpoint-*"))


def test_an_evaluator_that_runs_alone_draws_no_random_number(
    train_here: Train, evaluated: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedstep.worker.trainer.rng_state import get_rng_states

    states: list[Any] = []
    run = InterruptibleTrainer.run_evaluator

    def watched(self: InterruptibleTrainer, steps: int) -> None:
        import torch

        evaluator = self.evaluator
        self.evaluator = lambda model, **options: (torch.rand(3), evaluator(model, **options))[1]
        states.append(get_rng_states()[2].tolist())
        run(self, steps)
        states.append(get_rng_states()[2].tolist())
        self.evaluator = evaluator

    monkeypatch.setattr(InterruptibleTrainer, "run_evaluator", watched)
    assert train_here(evaluated()).exit_code == 0
    before, after = states
    assert before == after
