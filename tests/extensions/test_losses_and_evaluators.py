"""A loss and an evaluator of another package: checked as ours, and trained with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult

pytestmark = pytest.mark.usefixtures("birdsong")
Ask = Callable[..., list[str]]
COLUMNS = {"anchor": "anchor", "positive": "positive"}


@pytest.fixture
def held_out(data_folder: Path) -> dict[str, Any]:
    return {"docs": {"path": str(data_folder / "eval.jsonl"), "columns": {**COLUMNS, "label": "score"}}}


@pytest.mark.parametrize("name", ["margin_cosine", "birdsong:margin_cosine"])
def test_a_declared_loss_and_evaluator_train(
    name: str,
    train_here: Callable[..., StepResult],
    request_of: Callable[..., dict[str, Any]],
    scored: Callable[..., dict[str, Any]],
    held_out: dict[str, Any],
) -> None:
    evaluator = {"kind": "mean_cosine", "name": "near", "dataset": "docs", "options": {"batch_size": 8}}
    asked = request_of(
        loss={"kind": name, "options": {"margin": 0.05}},
        data=scored(eval=held_out),
        evaluators=[evaluator],
        arguments={
            "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2,
            "load_best_model_at_end": True, "metric_for_best_model": "near_mean",
        },
    )  # fmt: skip
    result = train_here(asked)
    assert result.exit_code == 0, result.failure
    assert {"eval_near_mean", "eval_near_least", "eval_loss"} <= result.metrics.keys()


def test_a_declared_loss_works_inside_a_wrapper(
    train_here: Callable[..., StepResult],
    request_of: Callable[..., dict[str, Any]],
    scored: Callable[..., dict[str, Any]],
) -> None:
    loss = {"kind": "matryoshka", "options": {"matryoshka_dims": [32, 16]}, "loss": "margin_cosine"}
    assert train_here(request_of(loss=loss, data=scored(), arguments={"max_steps": 1})).exit_code == 0


def test_its_columns_and_options_are_checked(problems_of: Ask, scored: Callable[..., dict[str, Any]]) -> None:
    assert problems_of(loss="margin_cosine") == [
        "data.train.docs.columns.label: is missing: margin_cosine needs a label with a score from 0 to 1"
    ]
    assert problems_of(loss={"kind": "margin_cosine", "options": {"margn": 1}}, data=scored()) == [
        "loss.options.margn: is not an option of margin_cosine; it has margin; did you mean margin?"
    ]
    evaluators = [{"kind": "mean_cosine", "name": "near", "dataset": "docs", "options": {"batch_size": 0}}]
    assert "evaluators.0.options.batch_size: must be an integer of 1 or more, not 0" in problems_of(
        loss="margin_cosine", data=scored(), evaluators=evaluators
    )
