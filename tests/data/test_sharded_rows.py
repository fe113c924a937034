"""A dataset of which each node reads a share: the same facts, ids and rows as if one had read all files."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.facts import DatasetFacts
from embedstep.data.ids import read_integers, read_table, text_bytes, text_ids
from embedstep.data.reading import scan
from embedstep.data.roles import RowNeeds
from embedstep.data.shard_facts import ColumnFacts, Shard, write_facts
from embedstep.data.sharded_rows import ShardedRows, facts_of, find_shards
from embedstep.data.sources import DataFile, find_files
from embedstep.data.stores import LocalStore
from embedstep.errors import InvalidRequestError
from embedstep.request.datasets import Dataset

SIZES = (40, 30, 50, 20)
NEEDS = RowNeeds(integer_labels=True)


def rows_from(start: int, count: int) -> dict[str, Any]:
    numbers = range(start, start + count)
    return {
        "q": [f"question {number % 90}" for number in numbers],
        "a": [f"Answer {number % 60}" for number in numbers],
        "l": [float(number % 3) for number in numbers],
        "n": [number % 5 for number in numbers],
    }


def write_all(folder: Path, names: Sequence[str] = ()) -> None:
    """Write the facts of all files in this process: others would take seconds to start."""
    for file in find_files("", [str(folder)], None):
        write_facts("", file, names)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    start = 0
    for number, size in enumerate(SIZES):
        pq.write_table(pa.table(rows_from(start, size)), tmp_path / f"{number}.parquet")
        start += size
    write_all(tmp_path)
    return tmp_path


def dataset(path: Path, **columns: Any) -> Dataset:
    given = {"anchor": "q", "positive": "a", "label": "l", **columns}
    return Dataset.model_validate({"path": str(path), "columns": {key: one for key, one in given.items() if one}})


def find(path: Path, lengths: str | None = None, **columns: Any) -> ShardedRows:
    return find_shards("docs", dataset(path, **columns), NEEDS, lengths)


def refusal(work: Callable[[], Any]) -> list[str]:
    with pytest.raises(InvalidRequestError) as refused:
        work()
    return [str(problem) for problem in refused.value.problems]


def test_facts_are_those_of_all_rows(rows: Path) -> None:
    found = facts_of("docs", find(rows, lengths="n"), 2)
    read = scan("train", "docs", dataset(rows), drop_incomplete_rows=False, lengths="n", needs=NEEDS)
    names = ("rows", "columns", "has_lengths", "dropped_columns", "duplicate_rows", "label_values", "label_range")
    assert [getattr(found, name) for name in names] == [getattr(read, name) for name in names]
    assert found.columns["label"] == "integer"
    assert {name: hashes.tolist() for name, hashes in found.text_hashes.items()} == {
        name: hashes.tolist() for name, hashes in read.text_hashes.items()
    }
    assert found.node_rows == (70, 70)


def test_a_share_is_written_as_one_node_would_read_it(rows: Path, tmp_path: Path) -> None:
    share, target = find(rows, lengths="n").shares(2)[0], tmp_path / "share.arrow"
    assert [Path(shard.file.path).name for shard in share.shards] == ["2.parquet", "3.parquet"]
    share.write(target)
    files = [rows / "2.parquet", rows / "3.parquet"]
    alone = Dataset.model_validate({**dataset(rows).model_dump(exclude_none=True), "path": list(map(str, files))})
    scan(
        "train", "docs", alone, drop_incomplete_rows=False, lengths="n", needs=NEEDS, write_to=tmp_path / "alone.arrow"
    )
    assert read_table(target).equals(read_table(tmp_path / "alone.arrow"))
    # What batches depend on is known from the facts before the texts are read.
    inputs = ["anchor", "positive"]
    assert np.array_equal(share.text_ids(inputs), text_ids(target, inputs))
    assert np.array_equal(share.text_bytes(inputs), text_bytes(target, inputs))
    for role in ("label", "length"):
        assert np.array_equal(share.integers(role), read_integers(target, role))


def test_a_length_below_zero_is_refused(rows: Path) -> None:
    pq.write_table(pa.table({**rows_from(0, 40), "n": [-5] * 40}), rows / "0.parquet")
    write_all(rows)
    assert refusal(lambda: facts_of("docs", find(rows, lengths="n"), 2)) == [
        "arguments.length_column_name: data.train.docs: -5 is not a length; a length is a number of tokens, 0 or more"
    ]


def test_a_field_of_an_object_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"m": [{"q": "one"}], "a": ["two"]}), tmp_path / "0.parquet")
    write_all(tmp_path)
    assert refusal(lambda: find(tmp_path, anchor="m.q", label=None)) == [
        "data.train.docs.columns.anchor: 'm.q' is a field of an object, and data.read: per_node needs a column of its "
        "own for it"
    ]


def test_several_labels_become_lists(rows: Path, tmp_path: Path) -> None:
    found = find(rows, label=["l", "n"])
    found.shares(4)[0].write(tmp_path / "share.arrow")
    assert found.output["label"] == "numbers"
    assert read_table(tmp_path / "share.arrow")["label"].to_pylist()[:2] == [[70 % 3, 0.0], [71 % 3, 1.0]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 8))
def test_files_are_divided_evenly(sizes: list[int], nodes: int) -> None:
    file = DataFile(store=LocalStore(), path="a.parquet", format="parquet")
    facts = {"q": ColumnFacts(kind="text", digest="d")}
    shards = tuple(Shard(file=file, facts=file, rows=size, columns=facts) for size in sizes)
    shares = ShardedRows(where="data.train.docs", shards=shards, columns=()).shares(nodes)
    assert sorted(shard.rows for share in shares for shard in share.shards) == sorted(sizes)
    rows = [share.rows for share in shares]
    assert max(rows) - min(rows) <= max(sizes)


def test_the_fingerprint_is_that_of_rows_and_columns(rows: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(rows, moved, ignore=lambda _, names: ["moved"])
    before = find(rows).fingerprint
    assert find(moved).fingerprint == before
    assert find(rows, label=None).fingerprint != before
    assert find(rows, anchor="a", positive="q").fingerprint != before
    (moved / "3.parquet").rename(moved / "0a.parquet")
    (moved / "_facts/3.parquet").rename(moved / "_facts/0a.parquet")
    assert find(moved).fingerprint != before  # another order of rows


def test_a_file_that_has_changed_since_is_refused(rows: Path, tmp_path: Path) -> None:
    """Texts of equal length, written without statistics, leave the footer as it was."""
    plain: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    for name in ("first", "second"):
        (rows / name).mkdir()
        pq.write_table(pa.table({"q": ["one", "two"], "a": [name[:3], "b"]}), rows / name / "0.parquet", **plain)
    write_all(rows / "first")
    shutil.copyfile(rows / "second/0.parquet", rows / "first/0.parquet")
    found = find(rows / "first", label=None)
    assert refusal(lambda: found.write(tmp_path / "share.arrow")) == [
        f"data.train.docs.path: column 'a' of {rows}/first/0.parquet has changed since its facts were written; "
        f"write them: embedstep facts {rows}/first/0.parquet"
    ]
    assert not (tmp_path / "share.arrow").exists()


def test_values_that_are_of_another_kind_by_now_are_refused_alike(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find(rows)
    pq.write_table(pa.table({**rows_from(0, 40), "l": [number + 0.5 for number in range(40)]}), rows / "0.parquet")
    (problem,) = refusal(lambda: found.write(tmp_path / "share.arrow"))
    assert f"of {rows}/0.parquet has changed since its facts were written" in problem


@pytest.mark.parametrize(
    ("more", "columns", "expected"),
    [
        ({}, {"anchor": "quest"}, ["data.train.docs.columns.anchor: ROWS/0.parquet has no column 'quest' (nor have 3 "
                                   "more files); its columns are q, a, l, n"]),
        ({}, {"anchor": "l", "label": None},
         ["data.train.docs.columns.anchor: column 'l' holds numbers; an anchor is text"]),
        ({"4": {"q": ["one", ""], "a": ["two", None], "l": [0.5, 1.0], "n": [1, 2]}}, {},
         ["data.train.docs.columns.anchor: column 'q' has 1 empty cell, the first of them in ROWS/4.parquet; with "
          "data.read: per_node, such rows have to be left out of the files",
          "data.train.docs.columns.positive: column 'a' has 1 empty cell, the first of them in ROWS/4.parquet; with "
          "data.read: per_node, such rows have to be left out of the files"]),
        ({"4": {"q": pa.nulls(2), "a": ["two", "three"], "l": [0.5, 1.0], "n": [1, 2]}}, {},
         ["data.train.docs.columns.anchor: column 'q' has 2 empty cells, the first of them in ROWS/4.parquet; with "
          "data.read: per_node, such rows have to be left out of the files"]),
        ({"4": {"q": [["one"]], "a": ["two"], "l": [1.0], "n": [1]}}, {},
         ["data.train.docs.columns.anchor: column 'q' holds text in ROWS/0.parquet and lists of texts in "
          "ROWS/4.parquet; all files need the same kind"]),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_are_refused(
    rows: Path, more: dict[str, Any], columns: dict[str, Any], expected: list[str]
) -> None:
    for name, table in more.items():
        pq.write_table(pa.table(table), rows / f"{name}.parquet")
    write_all(rows)
    assert refusal(lambda: find(rows, **columns)) == [line.replace("ROWS", str(rows)) for line in expected]


def test_files_without_facts_are_counted(rows: Path) -> None:
    (rows / "_facts/1.parquet").unlink()
    assert refusal(lambda: find(rows)) == [
        f"data.train.docs.path: a file has no facts, or those of another content: {rows}/1.parquet; "
        f"write them: embedstep facts {rows}"
    ]
    shutil.rmtree(rows / "_facts")
    assert refusal(lambda: find(rows)) == [
        f"data.train.docs.path: 4 of 4 files have no facts, or those of another content: {rows}/0.parquet; "
        f"write them: embedstep facts {rows}"
    ]


def test_there_are_files_for_each_node(rows: Path) -> None:
    assert refusal(lambda: facts_of("docs", find(rows), 5)) == [
        "data.train.docs.path: 4 files have rows, and 5 nodes each read files of their own; "
        "write at least 5 files of equal size"
    ]


def test_other_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"q": "a"}))
    assert refusal(lambda: find(tmp_path / "a.jsonl")) == [
        f"data.train.docs.path: {tmp_path}/a.jsonl is jsonl; data.read: per_node needs Parquet files"
    ]


def test_facts_without_a_column_are_refused(rows: Path) -> None:
    write_all(rows, ["q", "a"])
    assert refusal(lambda: find(rows)) == [
        f"data.train.docs.columns.label: the facts of {rows}/0.parquet leave out column 'l'; "
        f"write them: embedstep facts {rows}"
    ]


def test_facts_of_one_dataset_are_comparable(rows: Path) -> None:
    one, other = (facts_of("docs", find(rows), 2) for _ in range(2))
    assert isinstance(one, DatasetFacts)
    assert one == other
