"""How a training begins in an empty folder, and what can be seen of it while it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from embedstep.output.result import StepResult

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_one_request_serves_the_first_run_and_the_next(
    train_here: Train, request_of: Build, resume: str, tmp_path: Path
) -> None:
    """A first attempt has no checkpoint to resume from."""
    result = train_here({**request_of(arguments={"max_steps": 2}), "resume": resume})
    assert (result.exit_code, result.train_steps) == (0, 2)


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"resume": "required"}, "resume: is required"),
        ({"arguments": {"resume_from_checkpoint": "last"}}, "arguments.resume_from_checkpoint: is last"),
    ],
)
def test_a_required_checkpoint_that_is_missing_suggests_auto(
    train_here: Train, request_of: Build, sections: dict[str, Any], field: str, tmp_path: Path
) -> None:
    result = train_here(request_of(**sections))
    assert result.exit_code == 2
    assert result.failure is not None
    (message,) = result.failure.problems
    assert message.startswith(f"{field}, and there is no complete checkpoint in ")
    assert message.endswith("; resume: auto, the default, begins at the first step where there is none")


def test_rows_are_prepared_once_and_not_by_each_rank(
    train_here: Train, evaluated: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks that each map a dataset race for one cache."""

    def refused(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a rank prepares rows")

    for owner, name in ((datasets, "load_dataset"), (datasets.Dataset, "map"), (datasets.Dataset, "from_list")):
        monkeypatch.setattr(owner, name, refused)
    arguments = {"max_steps": 2, "batch_sampler": "no_duplicates", "eval_strategy": "steps", "eval_steps": 1}
    assert train_here(evaluated(arguments=arguments)).exit_code == 0
