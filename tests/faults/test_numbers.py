"""Numbers that go bad while a model is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embedstep.output.result import StepResult
from tests.faults.conftest import Fault

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
ARGUMENTS = {"max_steps": 12, "logging_steps": 2, "save_strategy": "steps", "save_steps": 3}


@pytest.fixture
def bad_from(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[Any], None]], None]:
    """Return a function that has something done to the model before each batch from the n-th on."""
    from sentence_transformers import SentenceTransformerTrainer

    def arm(number: int, do: Callable[[Any], None]) -> None:
        made = 0
        step = SentenceTransformerTrainer.training_step

        def training_step(self: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made >= number:
                do(self.model)
            return step(self, *arguments, **options)

        monkeypatch.setattr(SentenceTransformerTrainer, "training_step", training_step, raising=False)

    return arm


def poison(model: Any) -> None:
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))


def flatten(model: Any) -> None:
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "output" / "checkpoints").iterdir())


@pytest.mark.fault("weights that are not numbers", "training, launch.stop_on: [not_finite]")
def test_a_loss_that_is_not_finite_ends_it(
    train_here: Train, request_of: Build, bad_from: Any, fault: Fault, tmp_path: Path
) -> None:
    """The library would log the mean of the losses before in its place, and save the weights."""
    bad_from(8, poison)
    result = train_here(request_of(arguments=ARGUMENTS, launch={"stop_on": ["not_finite"], "max_restarts": 3}))
    assert result.exit_code == 1
    assert result.restarts == 0
    assert result.failure is not None
    assert result.failure.message == (
        "the loss or the gradient norm is not a finite number; check the learning rate, the data and half precision "
        "(launch.stop_on: not_finite); earlier checkpoints are kept"
    )
    assert kept(tmp_path) == ["checkpoint-3", "checkpoint-6"]
    fault.came_to("1, good checkpoints kept", [])


@pytest.mark.fault("embeddings that are all one point", "training, launch.stop_on: [collapse]")
def test_a_collapse_ends_it(
    train_here: Train, request_of: Build, bad_from: Any, fault: Fault, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad_from(5, flatten)
    result = train_here(request_of(arguments=ARGUMENTS, launch={"stop_on": ["collapse"]}))
    assert result.exit_code == 1
    assert "step 6: all embeddings of a batch are the same" in capfd.readouterr().err
    assert kept(tmp_path) == ["checkpoint-3"]
    fault.came_to("1, good checkpoint kept", [])


@pytest.mark.fault("gradients of zero", "training, without launch.stop_on")
def test_zero_gradients_are_reported(train_here: Train, request_of: Build, fault: Fault, bad_from: Any) -> None:
    """A request that asks for no end has the alarm in the result."""

    def freeze(model: Any) -> None:
        for weights in model.parameters():
            if weights.grad is None:
                weights.register_hook(torch.zeros_like) if weights.requires_grad else None

    bad_from(3, freeze)
    result = train_here(request_of(arguments=ARGUMENTS))
    assert result.exit_code == 0
    assert result.alarms == {"zero_gradients": 8}
    fault.came_to("0, reported in the result", None)
