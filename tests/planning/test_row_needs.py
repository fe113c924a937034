"""Rows that are accepted for some losses, evaluators and samplers, and for others not."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from embedstep.errors import InvalidRequestError
from embedstep.planning.plan import Plan, PlannedDataset
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.places import ROOT

PAIR = {"anchor": "q", "positive": "a", "label": "l"}
SINGLE = {"anchor": "q", "label": "l"}
GROUPED = {"batch_sampler": "group_by_label", "per_device_train_batch_size": 4}
Planned = Callable[..., Plan]


def write(path: Path, labels: list[Any]) -> str:
    """Write a row for each label."""
    rows = [{"q": f"question {number}", "a": f"answer {number}", "l": label} for number, label in enumerate(labels)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        lines = [f"{row['q']},{row['a']},{'' if row['l'] is None else row['l']}" for row in rows]
        path.write_text("\n".join(["q,a,l", *lines, ""]))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def planned(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> Planned:
    """Plan a training on rows with some labels, and an evaluator on the same rows if one is named."""

    def plan(
        labels: list[Any], loss: Any, columns: dict[str, str], *, end: str = "parquet", evaluator: str = "", **more: Any
    ) -> Plan:
        source = {"path": write(tmp_path / f"rows.{end}", labels), "columns": columns}
        data: dict[str, Any] = {"train": {"docs": source}, "drop_incomplete_rows": True, "max_overlap": 1}
        evaluators = [{"kind": evaluator, "name": "held", "dataset": "held"}] if evaluator else []
        if evaluator:
            data["eval"] = {"held": source}
            pairs = {name: column for name, column in columns.items() if name != "label"}
            data["train"] = {"docs": {**source, "columns": pairs}}
        document = request_of(data=data, loss=loss, evaluators=evaluators, arguments=more)
        return plan_step(load_request(json.dumps(document)))

    return plan


SOFTMAX = {"kind": "softmax", "options": {"num_labels": 2}}


@pytest.mark.parametrize(
    ("loss", "columns", "more", "end"),
    [
        ("contrastive", PAIR, {}, "parquet"),
        ("contrastive", PAIR, {}, "csv"),
        (SOFTMAX, PAIR, {}, "jsonl"),
        ("batch_all_triplet", SINGLE, GROUPED, "parquet"),
        ({"kind": "matryoshka", "options": {"matryoshka_dims": [16]}, "loss": "contrastive"}, PAIR, {}, "parquet"),
        ("multiple_negatives_ranking", PAIR, {"evaluator": "binary_classification"}, "csv"),
    ],
    ids=str,
)
def test_labels_without_fractions_are_classes(
    planned: Planned, loss: Any, columns: dict[str, str], more: dict[str, Any], end: str
) -> None:
    """As pandas writes them where a cell of the column was empty."""
    whole = planned([0, 1] * 8, loss, columns, **more)
    with_gap = planned([0.0, 1.0] * 8 + [None], loss, columns, end=end, **more)
    assert with_gap.datasets[-1].labels == {"0": 8, "1": 8}
    assert with_gap.datasets[-1].dropped_rows == 1
    assert with_gap.datasets[-1].fingerprint == whole.datasets[-1].fingerprint


@pytest.mark.parametrize(
    ("loss", "columns", "more", "end", "problem"),
    [
        ("contrastive", PAIR, {}, "parquet", "docs.columns.label: holds number; contrastive needs a label with 0 or 1"),
        (SOFTMAX, PAIR, {}, "csv", "docs.columns.label: holds number; softmax needs a label with a class, an integer"),
        (
            "multiple_negatives_ranking", PAIR, {"evaluator": "binary_classification"}, "jsonl",
            "held.columns.label: holds number; the evaluator binary_classification needs a label with 0 or 1 in each "
            "row, and both of them",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_fraction_is_no_class(
    planned: Planned, loss: Any, columns: dict[str, str], more: dict[str, Any], end: str, problem: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        planned([0, 1] * 8 + [0.5], loss, columns, end=end, **more)
    assert [str(each).partition(".")[2].partition(".")[2] for each in caught.value.problems] == [problem]


def test_scores_stay_numbers(planned: Planned) -> None:
    """So that a training is the same as before."""
    scores, classes = (planned([0.0, 1.0] * 8, loss, PAIR) for loss in ("cosine_similarity", "contrastive"))
    assert scores.datasets[0].labels == {}
    assert scores.datasets[0].fingerprint != classes.datasets[0].fingerprint


RETRIEVAL = {"kind": "information_retrieval", "name": "held", "dataset": "held"}
RERANKING = {"kind": "reranking", "name": "order", "dataset": "held"}
MINING = {"kind": "paraphrase_mining", "name": "near", "dataset": "held"}
LISTS: list[list[str] | None] = [["far", "off"], [], None, ["x"]]


@pytest.fixture
def with_lists(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Plan]:
    """Plan a training with these lists of texts in the negative column of its rows and of those for evaluators."""

    def plan(lists: list[list[str] | None], *evaluators: dict[str, Any], negative: Any = None, **more: Any) -> Plan:
        rows = [{"q": f"question {row}", "a": f"answer {row}", "n": texts} for row, texts in enumerate(lists)]
        file = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows), file)
        columns = {"anchor": "q", "positive": "a"}
        with_negatives = {**columns, "negative": negative or "n"}
        data: dict[str, Any] = {
            "train": {"docs": {"path": str(file), "columns": with_negatives if negative else columns}}
        }
        if evaluators:
            data |= {"eval": {"held": {"path": str(file), "columns": with_negatives}}, "max_overlap": 1}
        arguments = {"max_steps": -1, "per_device_train_batch_size": 2, **more}
        document = request_of(data=data, evaluators=list(evaluators), arguments=arguments)
        return plan_step(load_request(json.dumps(document)))

    return plan


@pytest.mark.parametrize("evaluators", [[RETRIEVAL], [MINING], [RETRIEVAL, MINING]], ids=str)
def test_retrieval_takes_rows_without_negatives(
    with_lists: Callable[..., Plan], evaluators: list[dict[str, Any]]
) -> None:
    """They are further documents, and none is one of none."""
    (held,) = (item for item in with_lists(LISTS, *evaluators).datasets if item.split == "eval")
    assert (held.rows, held.dropped_rows, held.columns) == (4, 0, ("anchor", "positive", "negative"))


@pytest.mark.parametrize("evaluators", [[RERANKING], [RETRIEVAL, RERANKING]], ids=str)
def test_other_evaluators_need_a_negative_in_each_row(
    with_lists: Callable[..., Plan], evaluators: list[dict[str, Any]]
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        with_lists(LISTS, *evaluators)
    (problem,) = caught.value.problems
    assert problem.path == "data.eval.held.columns.negative"
    assert "is empty in 2 rows (rows 2, 3)" in problem.message


@pytest.mark.parametrize(
    ("otherwise", "rows", "notes"),
    [
        ("drop", 1, ("data.train.docs: 2 rows have fewer than 2 texts in 'n', and are dropped",)),
        ("repeat", 3, ("data.train.docs: 2 rows have fewer than 2 texts in 'n', which are repeated",)),
    ],
)
def test_a_plan_says_which_lists_are_too_short(
    with_lists: Callable[..., Plan], otherwise: str, rows: int, notes: tuple[str, ...]
) -> None:
    plan = with_lists([["a", "b"], ["c"], ["d"]], negative={"list": "n", "take": 2, "otherwise": otherwise})
    assert plan.datasets[0].rows == rows
    assert plan.datasets[0].columns == ("anchor", "positive", "negative_1", "negative_2")
    assert plan.notes[: len(notes)] == notes


def test_a_loss_says_what_to_write_for_a_list(with_lists: Callable[..., Plan]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        with_lists([["a"], ["b"]], negative="n")
    assert [str(problem) for problem in caught.value.problems] == [
        "data.train.docs.columns.negative: holds texts; multiple_negatives_ranking needs one text in each row; "
        "write negative: {list: n, take: 1}, or take more"
    ]


def test_an_evaluator_says_what_to_write_for_a_list(with_lists: Callable[..., Plan]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        with_lists([["a"], ["b"]], {"kind": "triplet", "name": "held", "dataset": "held"})
    assert [str(problem) for problem in caught.value.problems] == [
        "data.eval.held.columns.negative: holds lists; the evaluator triplet needs one text in each row; "
        "write negative: {list: n, take: 1}, or take more"
    ]


def test_the_page_of_rows_shows_what_works(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lists of positives and negatives to train on, its judgements, and its documents to search."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "rows.md").read_text(encoding="utf-8")
    lists, queries = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    columns, judged, corpus, searched = (
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    )
    Path("lists.jsonl").write_text(lists)
    Path("queries.jsonl").write_text(queries)
    pq.write_table(pa.table({"text": ["Open a file and return a stream.", "Another document."]}), "documents.parquet")
    folder = Path("data/scifact")
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "title": "Files", "text": "Open a file."}')
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "open a file"}')
    (folder / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")

    def planned(shown: Mapping[str, Any], train: Mapping[str, Any]) -> list[PlannedDataset]:
        data = {"train": train, **shown.get("data", {})}
        arguments = {"per_device_train_batch_size": 1, "batch_sampler": "no_duplicates"}
        document = request_of(**{**shown, "data": data, "arguments": arguments})
        return list(plan_step(load_request(json.dumps(document))).datasets)

    from_lists = {"docs": {"path": "lists.jsonl", **columns}}
    train, held = planned(searched, from_lists)
    assert (train.columns, train.rows) == (("anchor", "positive", "negative_1", "negative_2", "negative_3"), 1)
    assert (held.columns, held.rows) == (("anchor", "positive", "negative"), 2)
    _, held = planned(corpus, from_lists)
    assert (held.columns, held.rows, held.corpus_documents) == (("anchor", "positive"), 2, 2)
    (train,) = planned({"loss": "multiple_negatives_ranking"}, judged["data"]["train"])
    assert (train.columns, train.rows) == (("anchor", "positive"), 1)


def test_repeated_negatives_go_into_batches_without_duplicates(with_lists: Callable[..., Plan]) -> None:
    """A text may repeat inside its row."""
    negative = {"list": "n", "take": 3, "otherwise": "repeat"}
    plan = with_lists([["a"], ["b"], ["c"], ["d"]], negative=negative, batch_sampler="no_duplicates")
    assert (plan.datasets[0].batches, plan.datasets[0].rows_unreached) == (2, 0)
