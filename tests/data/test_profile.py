"""What the first rows of files show of their columns."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from embedstep.data.profile import ColumnProfile, RowsProfile, profile_files
from embedstep.data.sources import find_files
from embedstep.errors import InvalidRequestError

WHERE = "data.train.docs"


def profile(*names: str) -> RowsProfile:
    return profile_files(WHERE, find_files(WHERE, names, None))


def column(values: list[Any]) -> ColumnProfile:
    Path("a.jsonl").write_text("".join(json.dumps({"x": value, "y": "z"}) + "\n" for value in values))
    return profile("a.jsonl").columns[0]


def test_texts_are_measured() -> None:
    found = column(["ab cd", "AB CD ", "ef", None, "  "])
    assert (found.kind, found.values, found.example) == ("text", 2, "ab cd")
    assert (found.filled, found.distinct) == (0.6, 2 / 3)
    assert found.length == pytest.approx(13 / 3)
    assert found.one_word == pytest.approx(1 / 3)


def test_lists_are_measured() -> None:
    found = column([["a b", "c"], ["d"], [], None])
    assert (found.kind, found.filled, found.texts, found.example) == ("texts", 0.5, (0, 2), "a b | c")
    assert found.one_word == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("values", "kind", "numbers", "is_whole"),
    [
        ([0, 1, 1], "integer", (0.0, 1.0), True),
        ([True, False], "integer", (0.0, 1.0), True),
        ([0.0, 1.0, None], "number", (0.0, 1.0), True),
        ([0.5, 1.0], "number", (0.5, 1.0), False),
        (list(range(30)), "integer", (), True),
        ([one / 10 for one in range(30)], "number", (), False),
    ],
)
def test_numbers_are_listed_if_they_are_few(
    values: list[Any], kind: str, numbers: tuple[float, ...], is_whole: bool
) -> None:
    found = column(values)
    assert (found.kind, found.numbers, found.is_whole) == (kind, numbers, is_whole)
    known = [one for one in values if one is not None]
    assert found.range == (min(known), max(known))


@pytest.mark.parametrize(("values", "kind"), [([None, None], "empty"), (["", " "], "empty"), ([1, "a"], "other")])
def test_a_column_without_use_is_known(values: list[Any], kind: str) -> None:
    assert column(values).kind == kind


def test_several_files_are_one_table() -> None:
    Path("a.csv").write_text("q,n,only\nx,1,z\n")
    Path("b.csv").write_text("q,n\ny,1.5\nw,2\n")
    found = profile("a.csv", "b.csv")
    assert [(one.name, one.kind, one.values) for one in found.columns] == [("q", "text", 3), ("n", "number", 3)]
    assert (found.rows, found.is_counted) == (3, True)
    Path("c.csv").write_text("other\ny\n")
    with pytest.raises(InvalidRequestError) as caught:
        profile("a.csv", "c.csv")
    assert str(caught.value) == (
        "data.train.docs.path: the files have no column in common (a.csv: q, n, only; c.csv: other)"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("q,a\nx,y\n", ""),
        ("q;a\nx;y\n", 'csv: {delimiter: ";"}'),
        ("Why is it so?;Because\nx;y\n", 'csv: {delimiter: ";", header: false}'),
        ("1,x\n2,y\n", "csv: {header: false}"),
    ],
)
def test_a_request_says_how_a_file_is_written(text: str, line: str) -> None:
    Path("a.csv").write_text(text)
    assert profile("a.csv").csv == line


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.parquet"])
def test_the_rows_of_large_files_are_counted_or_estimated(name: str) -> None:
    rows = [{"q": f"how to do the thing number {n}", "a": f"press the button {n * 7} times"} for n in range(20_000)]
    if name == "a.parquet":
        parquet.write_table(pa.Table.from_pylist(rows), name)
    elif name == "a.jsonl":
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        text = "q,a\n" + "".join(f"{row['q']},{row['a']}\n" for row in rows)
        Path(name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    found = profile(name)
    assert found.is_counted == (name == "a.parquet")
    assert 15_000 < found.rows < 26_000
