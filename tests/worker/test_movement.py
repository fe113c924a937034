"""A training that changed nothing fails, and any other says how far it moved the model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]


@pytest.fixture(scope="session")
def halved(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model, stored in each half precision."""
    import torch
    from sentence_transformers import SentenceTransformer

    folder = tmp_path_factory.mktemp("halved")
    for name in ("bfloat16", "float16"):
        model = SentenceTransformer(str(tiny_model), device="cpu", model_kwargs={"dtype": getattr(torch, name)})
        model.save_pretrained(str(folder / name))
    return {name: folder / name for name in ("bfloat16", "float16")}


@pytest.mark.parametrize(
    ("stored", "asked", "published"),
    [("bfloat16", {}, "float32"), ("float16", {}, "float32"), ("bfloat16", {"dtype": "auto"}, "bfloat16")],
)
def test_weights_are_trained_in_float32_unless_the_request_says_otherwise(
    train_here: Train, request_of: Build, halved: dict[str, Path], stored: str, asked: dict[str, Any], published: str
) -> None:
    from safetensors.torch import load_file

    model = {"path": str(halved[stored]), "model_kwargs": asked}
    result = train_here(request_of(model=model, arguments={"use_cpu": True}))
    assert result.exit_code == 0, result.failure
    weights = load_file(Path(str(result.model)) / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {f"torch.{published}"}
    moved = result.movement
    assert moved is not None
    assert moved.mean_cosine is not None
    assert 0 < moved.mean_cosine < 1
    assert (moved.texts, moved.is_still) == (130, False)
    # Of the vocabulary only the tokens of the texts change.
    assert moved.weights_changed is not None
    assert 0.05 < moved.weights_changed < 1
    assert json.loads((Path(result.output) / "result.json").read_text())["movement"]["weights_moved"] > 0


@pytest.mark.parametrize(
    ("arguments", "asked", "reason"),
    [
        ({"learning_rate": 1e-12}, {}, "the learning rate 1e-12 is too small, or the loss has no gradient"),
        ({"learning_rate": 1e-9}, {"dtype": "bfloat16"}, "bfloat16 is too coarse for updates of this size"),
        ({"max_steps": 1, "warmup_steps": 4}, {}, "warm-up takes 4 of 1 step"),
    ],
)
def test_a_training_that_changed_nothing_fails(
    train_here: Train,
    request_of: Build,
    tiny_model: Path,
    arguments: dict[str, Any],
    asked: dict[str, Any],
    reason: str,
) -> None:
    section = {"path": str(tiny_model), "model_kwargs": asked}
    result = train_here(request_of(model=section, arguments={"use_cpu": True, **arguments}))
    assert result.exit_code == 1
    assert result.failure is not None
    assert result.failure.message.startswith("the training changed nothing: the model gives the vectors of its base; ")
    assert reason in result.failure.message


def test_a_learning_rate_of_0_is_taken_at_its_word(train_here: Train, request_of: Build) -> None:
    result = train_here(request_of(arguments={"use_cpu": True, "learning_rate": 0.0}))
    assert result.exit_code == 0
    assert result.movement is not None
    assert result.movement.is_still
    assert result.movement.mean_cosine == pytest.approx(1)
