"""Rows that stand twice, and the moment up to which rows count: what plan and check say of them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from embedstep.errors import InvalidRequestError
from embedstep.planning.plan import Plan
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.places import ROOT

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
    document["data"]["max_overlap"] = 1
    return document


def test_an_evaluation_on_nothing_but_training_rows_is_refused(evaluated: Build, tmp_path: Path) -> None:
    document = with_rows(evaluated(), tmp_path)
    del document["data"]["max_overlap"]
    with pytest.raises(InvalidRequestError) as caught:
        plan_step(load_request(json.dumps(document)))
    assert [str(problem) for problem in caught.value.problems] == [
        "data.eval.docs: all of its 4 rows are in the training data, so that its scores say nothing; name other rows, "
        "write hold_out: {share: 0.1} in data.train, or allow it with data.max_overlap: 1"
    ]


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


def plan_of(document: dict[str, Any], *settings: str) -> Plan:
    return plan_step(load_request(json.dumps(document), settings))


def held_out_rows(plan: Plan) -> dict[str, int]:
    return {f"{item.split}.{item.name}": item.rows for item in plan.datasets}


def test_a_plan_counts_what_is_held_out_and_evaluates_it(request_of: Build) -> None:
    retrieval = {"kind": "information_retrieval", "name": "docs", "dataset": "docs"}
    document = request_of(evaluators=[retrieval])
    document["data"]["train"]["docs"]["hold_out"] = {"share": 0.2}
    plan = plan_of(document)
    assert held_out_rows(plan) == {"train.docs": 99, "eval.docs": 31}
    assert plan.notes[0] == (
        "data.train.docs: 31 of 130 rows are held out (23.85%; share 0.2 by anchor); they are data.eval.docs"
    )
    assert {"eval_loss", "eval_docs_cosine_ndcg@10"} <= set(plan.metrics)
    other = plan_of(document, "data.train.docs.hold_out.seed=1")
    assert other.training_fingerprint != plan.training_fingerprint
    assert plan_of(document, "data.train.docs.hold_out.share=0.2001").training_fingerprint == plan.training_fingerprint


def test_datasets_keep_their_order_and_each_holds_out_its_own(request_of: Build) -> None:
    document = request_of()
    docs = document["data"]["train"]["docs"]
    one, three = ({**docs, "hold_out": {"share": share}} for share in (0.2, 0.3))
    document["data"] = {"train": {"one": one, "two": docs, "three": three}, "eval": {"two": docs}, "max_overlap": 1}
    plan = plan_of(document)
    assert list(held_out_rows(plan)) == [
        "train.one", "train.two", "train.three", "eval.two", "eval.one", "eval.three"
    ]  # fmt: skip
    # The anchors of `one` that are held out are trained on as rows of `two`.
    assert any(note.startswith("data.eval.one: 31 of 31 anchors are in the training data too") for note in plan.notes)


def test_anchors_overlap_only_where_other_values_are_held_out(request_of: Build, tmp_path: Path) -> None:
    rows = [{"anchor": f"question {n % 40}", "positive": f"answer {n}"} for n in range(200)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    document = request_of()
    document["data"]["max_overlap"] = 0
    docs = document["data"]["train"]["docs"]
    docs |= {"path": str(tmp_path / "rows.jsonl"), "hold_out": {"share": 0.2}}
    assert plan_of(document).datasets[1].overlapping_rows == 0
    docs["hold_out"]["by"] = "positive"
    with pytest.raises(InvalidRequestError, match=r"data\.eval\.docs: shares the anchors of \d+ of its \d+ rows"):
        plan_of(document)


@pytest.mark.parametrize("number", [0, 1])
def test_the_requests_of_the_page_are_planned(
    number: int, request_of: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "held_out.md").read_text(encoding="utf-8")
    sections = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[number])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs").mkdir()
    rows = [{"question": f"question {n}", "answer": f"answer {n}", "text": f"text {n}"} for n in range(300)]
    for file in ("pairs/1.parquet", "texts.parquet"):
        parquet.write_table(pa.Table.from_pylist(rows), file)
    plan = plan_of(request_of(**sections))
    assert [(item.split, item.loss) for item in plan.datasets] == [
        ("train", sections["loss"]), ("eval", sections["loss"])
    ]  # fmt: skip
    assert 5 <= plan.datasets[1].rows <= 25


def test_problems_of_rows_are_reported_once_for_both_sides(request_of: Build, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"anchor": "", "positive": "a"}\n{"anchor": "q", "positive": "a"}\n')
    document = request_of()
    document["data"]["train"]["docs"] |= {"path": str(tmp_path / "rows.jsonl"), "hold_out": {"share": 0.2}}
    with pytest.raises(InvalidRequestError) as caught:
        plan_of(document)
    assert [problem.path for problem in caught.value.problems] == ["data.train.docs.columns.anchor"]
