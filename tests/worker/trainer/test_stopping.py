"""A training that ends when its hours are over, on all ranks after the same step."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from embedstep.worker.trainer.stopping import StopController
from tests.conftest import Outcome

Build = Callable[..., dict[str, Any]]
Run = Callable[..., Outcome]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("processes", "strategy"), [(1, "steps"), (2, "steps"), (1, "epoch")])
def test_a_training_ends_when_its_hours_are_over(
    evaluated: Build, embedstep_run: Run, processes: int, strategy: str
) -> None:
    document = evaluated(
        launch={"max_hours": 1e-6, "processes_per_node": processes},
        arguments={"max_steps": 40, "eval_strategy": strategy, "eval_steps": 20, "logging_steps": 1},
    )
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    result = outcome.json("result.json")
    assert result["stop_reason"] == "launch.max_hours 1e-06: stopped after 1 of 40 train steps"
    assert result["stop_reason"] in outcome.out
    assert (outcome.output / "model/modules.json").exists()
    assert result["metrics"]["eval_docs_cosine_ndcg@10"] > 0
    lines = (outcome.output / "metrics.jsonl").read_text().splitlines()
    assert sum("eval_docs_cosine_ndcg@10" in line for line in lines) == 1
    assert result["train_steps"] == 1
    assert (result["cost"]["unit"], len(result["cost"]["attempts"])) == ("process-hours", 1)
    assert result["cost"]["attempts"][0]["processes"] == processes
    seconds = result["cost"]["attempts"][0]["seconds"]
    assert result["cost"]["hours"] == pytest.approx(seconds * processes / 3600, abs=1e-6)


def test_a_training_within_its_hours_goes_to_the_end(request_of: Build, embedstep_run: Run) -> None:
    outcome = embedstep_run(request_of(launch={"max_hours": 1}))
    assert outcome.code == 0, outcome.err
    assert outcome.json("result.json")["stop_reason"] is None
    assert outcome.json("progress.json")["train_step"] == 4


def test_the_time_of_earlier_starts_counts() -> None:
    """After a restart a training has what is left of its hours, and not all of them again."""
    control = SimpleNamespace(should_training_stop=False)
    arguments = SimpleNamespace(eval_strategy="no", save_strategy="no")
    for elapsed_seconds, stops in ((3599.0, False), (3601.0, True)):
        stopping = StopController(max_hours=1, elapsed_seconds=elapsed_seconds)
        stopping.on_step_end(arguments, SimpleNamespace(global_step=1, max_steps=2), control)
        assert control.should_training_stop is stops
