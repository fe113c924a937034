"""The final model is evaluated once, and the loss on test data comes after it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from tests.worker.trainer.test_recording import read_metrics

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]


@pytest.mark.parametrize(("every", "evaluated_at"), [(2, [2, 4, 5]), (5, [5])])
def test_the_final_model_is_evaluated_once(
    train_here: Train, evaluated: Build, data_folder: Path, every: int, evaluated_at: list[int]
) -> None:
    document = evaluated(
        arguments={"max_steps": 5, "eval_strategy": "steps", "eval_steps": every, "do_predict": True},
        evaluate_base=False,
    )
    document["data"]["test"] = {"docs": {**document["data"]["eval"]["docs"], "path": str(data_folder / "more.jsonl")}}
    result = train_here(document)
    assert result.exit_code == 0, result.failure
    logs = read_metrics(Path(result.output) / "metrics.jsonl")
    assert [log["train_step"] for log in logs if "eval_docs_cosine_ndcg@10" in log] == evaluated_at
    assert [log["train_step"] for log in logs if "test_loss" in log] == [5]
    assert not any(name.startswith("test_docs") for log in logs for name in log)
