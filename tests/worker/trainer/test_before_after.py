"""The scores of the base and of the trained model: once, of the right weights, and without touching the training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.worker.trainer.interruptible import InterruptibleTrainer

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
METRIC = "eval_docs_cosine_ndcg@10"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The train steps at which the evaluator ran alone."""
    steps: list[int] = []
    run = InterruptibleTrainer.run_evaluator

    def count(self: InterruptibleTrainer, steps_made: int) -> None:
        steps.append(steps_made)
        run(self, steps_made)

    monkeypatch.setattr(InterruptibleTrainer, "run_evaluator", count)
    return steps


def weights(result: StepResult) -> bytes:
    return (Path(str(result.model)) / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "alone"),
    [
        ({"max_steps": 4}, [0]),
        ({"max_steps": 4, "eval_on_start": True}, []),  # which evaluates the base already
        ({"max_steps": 5, "eval_strategy": "steps", "eval_steps": 2}, [0]),
        ({"max_steps": 4, "eval_strategy": "no"}, []),
    ],
    ids=["once", "at the start", "between evaluations", "never"],
)
def test_base_and_published_model_are_evaluated(
    train_here: Train, evaluated: Build, calls: list[int], arguments: dict[str, Any], alone: list[int]
) -> None:
    document = evaluated(arguments=arguments)
    result = train_here(document)
    assert result.exit_code == 0, result.failure
    assert calls == alone
    assert (METRIC in result.changes) == (arguments.get("eval_strategy") != "no")
    if METRIC in result.changes:
        assert result.changes[METRIC].after == result.metrics[METRIC]


def test_the_base_is_evaluated_once_for_a_model_and_its_rows(
    train_here: Train, evaluated: Build, calls: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMBEDSTEP_CACHE", str(tmp_path / "cache"))
    first = train_here(evaluated())
    again = train_here(evaluated(arguments={"learning_rate": 1e-3}), "other")
    assert calls == [0]
    assert {name: one.before for name, one in first.changes.items()} == {
        name: one.before for name, one in again.changes.items()
    }
    assert again.changes[METRIC].low is not None
    other = evaluated()
    other["model"] = {"path": other["model"], "max_seq_length": 8}
    train_here(other, "third")
    assert calls == [0, 0]


def test_a_base_that_nobody_wants_to_see_is_not_evaluated(
    train_here: Train, evaluated: Build, calls: list[int]
) -> None:
    result = train_here(evaluated(evaluate_base=False))
    assert (result.exit_code, calls, result.changes) == (0, [], {})


def test_the_evaluation_of_the_base_leaves_the_training_as_it_is(
    train_here: Train, evaluated: Build, tmp_path: Path
) -> None:
    with_base = weights(train_here(evaluated()))
    without = weights(train_here(evaluated(evaluate_base=False), "other"))
    assert with_base == without


def test_the_scores_are_those_of_the_best_model_where_it_is_published(
    train_here: Train, evaluated: Build, calls: list[int]
) -> None:
    """The last evaluation is that of another model, which has learned nonsense since."""
    arguments = {
        "max_steps": 4, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1,
        "load_best_model_at_end": True, "metric_for_best_model": METRIC, "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
    }  # fmt: skip
    result = train_here(evaluated(arguments=arguments))
    assert result.exit_code == 0, result.failure
    state = json.loads((Path(result.output) / "checkpoints" / "checkpoint-4" / "trainer_state.json").read_text())
    if state["best_global_step"] != 4:
        assert calls == [0, 4]
    assert result.changes[METRIC].after == pytest.approx(state["best_metric"])


def test_a_training_that_makes_its_model_worse_says_so(train_here: Train, evaluated: Build, minilm: Path) -> None:
    document = evaluated(
        model={"static": str(minilm), "initial_vectors": "word_embeddings"},
        arguments={"max_steps": 3, "learning_rate": 1e4},
    )
    result = train_here(document)
    change = result.changes[METRIC]
    assert change.is_worse
    assert change.high is not None
    assert change.high < 0
    shown = f"worse than the base: docs_cosine_ndcg@10 {change.after:.4f}, base {change.before:.4f}"
    assert result.worse_than_base == shown
