"""Rows that stand twice, and the moment up to which rows count: what plan and check say of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedstep.errors import InvalidRequestError
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request
from embedstep.step import plan_step

Build = Callable[..., dict[str, Any]]


def with_rows(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train on ten rows, of which two repeat one, and evaluate on four whose anchors are among them."""
    train = [{"anchor": f"question {n}", "positive": f"answer {n}"} for n in range(8)]
    train += [{"anchor": "Question 0", "positive": "answer  0"}] * 2
    held_out = [*train[:3], {"anchor": "question 1", "positive": "another answer"}]
    for name, rows in (("train", train), ("eval", held_out)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        columns = {"anchor": "anchor", "positive": "positive"}
        document["data"].setdefault(name, {})["docs"] = {"path": str(folder / f"{name}.jsonl"), "columns": columns}
    return document


def test_a_plan_counts_duplicate_rows(evaluated: Build, tmp_path: Path) -> None:
    plan = plan_step(load_request(json.dumps(with_rows(evaluated(), tmp_path))))
    counted = {item.split: (item.duplicate_rows, item.overlapping_rows) for item in plan.datasets}
    assert counted == {"train": (2, 0), "eval": (0, 4)}
    assert plan.notes[:2] == (
        "data.train.docs: 2 of 10 rows repeat an earlier one",
        "data.eval.docs: 4 of 4 anchors are in the training data too (row 1, 2, 3, 4), and flatter the model; "
        "data.max_overlap refuses that",
    )


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_duplicates": 0.1},
         ["data.train.docs: repeats 2 of its 10 rows (20.0%), and data.max_duplicates is 0.1; take them out, or raise "
          "the limit"]),
        ({"max_overlap": 0},
         ["data.eval.docs: shares the anchors of 4 of its 4 rows (100.0%) with the training data, first those of row "
          "1, 2, 3, 4, and data.max_overlap is 0; take them out of the training data, or raise the limit"]),
    ],
)  # fmt: skip
def test_more_than_a_limit_is_refused(
    evaluated: Build, tmp_path: Path, limits: dict[str, Any], message: list[str]
) -> None:
    document = with_rows(evaluated(), tmp_path)
    document["data"] |= limits
    with pytest.raises(InvalidRequestError) as caught:
        plan_step(load_request(json.dumps(document)))
    assert [str(problem) for problem in caught.value.problems] == message
    document["data"] |= {"max_duplicates": 0.2, "max_overlap": 1}
    assert plan_step(load_request(json.dumps(document))).train_steps == 4


def test_as_of_is_inserted_in_paths(request_of: Build, tmp_path: Path) -> None:
    document = request_of()
    (tmp_path / "2026-11-02").mkdir()
    document = with_rows(document, tmp_path / "2026-11-02")
    as_written = document["data"]["train"]["docs"]["path"]
    document["data"]["train"]["docs"]["path"] = str(tmp_path / "{as_of}" / "train.jsonl")
    document["data"]["eval"]["docs"]["path"] = [str(tmp_path / "{as_of}" / "eval.jsonl")]
    document["data"]["as_of"] = "2026-11-02"
    request = load_request(json.dumps(document))
    assert request.data.train["docs"].path == [as_written]
    selection = plan_step(request)
    assert selection.datasets[0].rows == 10
    # Without quotes 20261102 is a number to YAML.
    text = yaml.safe_dump({**document, "data": {**document["data"], "as_of": 20261102}})
    assert "as_of: 20261102" in text
    assert load_request(text).data.train["docs"].path == [str(tmp_path / "20261102" / "train.jsonl")]
    # Next week the same rows are the same training, though it is another request.
    later = load_request(json.dumps(document), ["data.as_of=2026-11-09", f"data.train.docs.path={as_written}",
                                                f"data.eval.docs.path={tmp_path}/2026-11-02/eval.jsonl"])  # fmt: skip
    assert request_fingerprint(later) != request_fingerprint(request)
    assert plan_step(later).training_fingerprint == selection.training_fingerprint
    other = load_request(json.dumps(document), ["arguments.seed=43"])
    assert plan_step(other).training_fingerprint != selection.training_fingerprint


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        ("[[ScheduledTime]]", "; this is a placeholder that the scheduler has not replaced"),
        ("{{ ds }}", "; this is a placeholder that the scheduler has not replaced"),
        ("next week", "needs a date or a time such as 2026-11-02 or 2026-11-02T03:00:00Z"),
        ("2026-13-02", "needs a date or a time such as 2026-11-02 or 2026-11-02T03:00:00Z"),
    ],
)
def test_an_invalid_as_of_is_refused(request_of: Build, moment: str, message: str) -> None:
    document = request_of()
    document["data"]["as_of"] = moment
    with pytest.raises(InvalidRequestError, match=r"^data\.as_of") as caught:
        load_request(json.dumps(document))
    assert message in str(caught.value)


def test_a_path_with_a_placeholder_needs_as_of(request_of: Build, tmp_path: Path) -> None:
    document = request_of()
    document["data"]["train"]["docs"]["path"] = str(tmp_path / "{as_of}" / "train.jsonl")
    with pytest.raises(InvalidRequestError, match=r"data\.train\.docs\.path: contains \{as_of\}; write data\.as_of"):
        plan_step(load_request(json.dumps(document)))


def test_unchanged_needs_a_registry(request_of: Build) -> None:
    with pytest.raises(InvalidRequestError, match=r"skip_if_unchanged: compares with the champion in the registry"):
        plan_step(load_request(json.dumps(request_of(skip_if_unchanged=True))))
