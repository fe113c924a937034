"""Rows that are prepared for a pipeline."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.errors import InvalidRequestError
from embedstep.orchestration.prepare import Prepared, prepare_data
from embedstep.request.loading import load_request

Build = Callable[..., dict[str, Any]]


def prepared(
    folder: Path,
    rows: list[dict[str, Any]],
    held_out: list[dict[str, Any]] | None = None,
    sections: dict[str, Any] | None = None,
    columns: dict[str, Any] | None = None,
    **how: Any,
) -> Prepared:
    folder.mkdir(exist_ok=True)
    columns = {"anchor": "query", "positive": "answer", **(columns or {})}
    data: dict[str, Any] = {}
    for split, some in (("train", rows), ("eval", held_out)):
        if some is not None:
            file = folder / f"{split}.jsonl"
            file.write_text("".join(json.dumps(row) + "\n" for row in some))
            data[split] = {"docs": {"path": str(file), "columns": columns}}
    document = {"model": "m", "data": data, "loss": "multiple_negatives_ranking", **(sections or {})}
    request = load_request(json.dumps(document))
    return prepare_data(request, folder / "train", folder / "eval", **how)


def rows(*anchors: str) -> list[dict[str, str]]:
    return [{"query": anchor, "answer": f"answer to {anchor}"} for anchor in anchors]


def written(folder: Path, split: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = pq.read_table(folder / split / "docs.parquet").to_pylist()
    return found


def test_what_repeats_or_is_held_out_is_left_out(tmp_path: Path) -> None:
    given_rows = [*rows("a", "b", "c", "d"), {"query": " B ", "answer": "Answer to b"}]
    found = prepared(tmp_path, given_rows, rows("d", "e", "e"))
    facts = {item.split: item for item in found.datasets}
    assert written(tmp_path, "train") == rows("a", "b", "c")
    assert written(tmp_path, "eval") == rows("d", "e")
    assert (facts["train"].duplicate_rows, facts["train"].overlapping_rows, facts["train"].rows) == (1, 1, 3)
    assert facts["eval"].duplicate_rows == 1


def test_a_share_is_held_out_by_the_anchors(tmp_path: Path) -> None:
    anchors = [f"question {number}" for number in range(400)]
    given_rows = [{"query": anchor, "answer": f"{anchor} {number}"} for anchor in anchors for number in range(2)]
    found = prepared(tmp_path, given_rows, eval_share=0.25)
    train, held_out = written(tmp_path, "train"), written(tmp_path, "eval")
    assert len(train) + len(held_out) == 800
    assert not {row["query"] for row in train} & {row["query"] for row in held_out}
    assert 0.18 < len(held_out) / 800 < 0.32
    facts = {item.split: item for item in found.datasets}
    assert facts["train"].split_off_rows == facts["eval"].rows == len(held_out)
    # Next week there are more rows in another order: an anchor goes the same way.
    prepared(tmp_path / "later", [*rows("new"), *reversed(given_rows)], eval_share=0.25)
    assert {row["query"] for row in written(tmp_path / "later", "eval")} - {"new"} == {row["query"] for row in held_out}
    prepared(tmp_path / "other", given_rows, eval_share=0.25, seed=1)
    assert {row["query"] for row in written(tmp_path / "other", "eval")} != {row["query"] for row in held_out}


def test_columns_that_only_the_sampler_or_the_gate_reads_are_kept(tmp_path: Path) -> None:
    sections = {
        "arguments": {"train_sampling_strategy": "group_by_length", "length_column_name": "tokens"},
        "evaluators": [{"kind": "information_retrieval", "name": "docs", "dataset": "docs"}],
        "promotion": {"metric": "docs_cosine_ndcg@10", "slices": "team"},
    }
    given_rows = [{**row, "tokens": number, "team": "search"} for number, row in enumerate(rows("a", "b"))]
    held_out = [{**row, "team": "shop"} for row in rows("c", "d")]
    prepared(tmp_path, given_rows, held_out, sections)
    assert written(tmp_path, "train") == [{**row, "tokens": number} for number, row in enumerate(rows("a", "b"))]
    assert written(tmp_path, "eval") == held_out
    # Where the held-out rows are split off, their slices come along.
    prepared(
        tmp_path / "split",
        given_rows * 20 + [{**r, "tokens": 1, "team": "shop"} for r in rows(*"efghijklm")],
        None,
        sections,
        eval_share=0.5,
    )
    assert {frozenset(row) for row in written(tmp_path / "split", "eval")} >= {
        frozenset({"query", "answer", "tokens", "team"})
    }


def test_the_fingerprint_is_that_of_the_rows(tmp_path: Path) -> None:
    one = prepared(tmp_path / "one", rows("a", "b"))
    again = prepared(tmp_path / "two", [*rows("a", "b"), *rows("a")])
    other = prepared(tmp_path / "three", rows("a", "c"))
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != other.fingerprint


def test_lists_are_written_as_lists(tmp_path: Path) -> None:
    """With a row for each positive and as many negatives as are taken, so that the same request reads them."""
    given_rows = [
        {"query": "a", "answer": ["one", "two"], "others": ["x", "y", "z"]},
        {"query": "b", "answer": ["three"], "others": ["w"]},
    ]
    negative = {"list": "others", "take": 2, "otherwise": "repeat"}
    found = prepared(
        tmp_path, given_rows, columns={"positive": {"list": "answer", "each": "row"}, "negative": negative}
    )
    assert found.datasets[0].rows == 3
    assert written(tmp_path, "train") == [
        {"query": "a", "answer": ["one"], "others": ["x", "y"]},
        {"query": "a", "answer": ["two"], "others": ["x", "y"]},
        {"query": "b", "answer": ["three"], "others": ["w", "w"]},
    ]


def test_no_row_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"data\.train\.docs: has no rows left"):
        prepared(tmp_path, rows("a"), rows("a"))


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_a_share_is_less_than_all(tmp_path: Path, share: float) -> None:
    with pytest.raises(InvalidRequestError, match="eval_share: needs a number from 0 up to 1"):
        prepared(tmp_path, rows("a"), eval_share=share)


@given(anchors=st.lists(st.text("ab ", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=30))
def test_every_text_that_came_in_is_there_once(tmp_path_factory: pytest.TempPathFactory, anchors: list[str]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    prepared(folder, rows(*anchors))
    found = [row["query"].replace(" ", "") for row in written(folder, "train")]
    assert found == list(dict.fromkeys(anchor.replace(" ", "") for anchor in anchors))


def test_what_the_request_holds_out_is_written_for_the_evaluation(tmp_path: Path) -> None:
    tmp_path.joinpath("rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows(*(f"question {number}" for number in range(200))))
    )
    docs = {"path": str(tmp_path / "rows.jsonl"), "columns": {"anchor": "query", "positive": "answer"}}
    data = {"train": {"docs": {**docs, "hold_out": {"share": 0.25}}}}
    found = prepared(tmp_path, [], sections={"data": data}, eval_share=0.5)
    train, held_out = written(tmp_path, "train"), written(tmp_path, "eval")
    facts = {item.split: item for item in found.datasets}
    assert len(train) + len(held_out) == 200
    assert facts["train"].split_off_rows == facts["eval"].rows == len(held_out)
    # `eval_share` holds out the same anchors.
    prepared(tmp_path / "later", rows(*(f"question {number}" for number in range(200))), eval_share=0.25)
    assert written(tmp_path / "later", "eval") == held_out


def test_rows_of_a_query_are_prepared_and_read_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows("b", "a", "c")))
    query = {"sql": f"select * from '{tmp_path}/rows.jsonl'", "columns": {"anchor": "query", "positive": "answer"}}
    data = {"train": {"docs": query}, "eval": {"docs": {**query, "sql": f"{query['sql']} where query = 'c'"}}}
    request = load_request(json.dumps({"model": "m", "data": data, "loss": "multiple_negatives_ranking"}))
    found = prepare_data(request, tmp_path / "train", tmp_path / "eval")
    assert written(tmp_path, "train") == rows("a", "b")
    assert written(tmp_path, "eval") == rows("c")
    assert [(item.rows, item.overlapping_rows) for item in found.datasets] == [(2, 1), (1, 0)]
