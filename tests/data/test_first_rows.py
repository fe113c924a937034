"""The first rows of files of which nothing is known: format, columns and kinds are found as a run reads them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from embedstep.data.first_rows import SAMPLED_ROWS, Sample, csv_options, read_sample
from embedstep.data.sources import find_files
from embedstep.errors import InvalidRequestError
from embedstep.request.sources import Csv

WHERE = "data.train.docs"


def sample(name: str) -> Sample:
    (file,) = find_files(WHERE, [name], None)
    return read_sample(WHERE, file, csv_options(WHERE, file)[0])


def options(name: str) -> tuple[Csv | None, list[str]]:
    return csv_options(WHERE, find_files(WHERE, [name], None)[0])


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("q,a\nx,y\n", {"q": ["x"], "a": ["y"]}),
        ("q;a\nx, y;z\n", {"q": ["x, y"], "a": ["z"]}),
        ("q\ta\nx\ty\n", {"q": ["x"], "a": ["y"]}),
        ('q,a\n"x; y","z; w"\n', {"q": ["x; y"], "a": ["z; w"]}),
        ("text\nx; y\nz\n", {"text": ["x; y", "z"]}),
        ("q,twice,twice\nx,y,z\n", {"q": ["x"]}),
        ("q,n,day,none\nx,1,2024-01-02,\n", {"q": ["x"], "n": [1], "day": ["2024-01-02"]}),
        ("q,a\n\"say \\\"x\\\"\",y\n", {"q": ['say "x"'], "a": ["y"]}),
        ("How do I open it?,Press the button\nWhy?,So\n", {"column_1": ["How do I open it?", "Why?"],
                                                           "column_2": ["Press the button", "So"]}),
    ],
)  # fmt: skip
def test_a_delimited_file_has_these_columns(text: str, cells: dict[str, list[Any]]) -> None:
    Path("a.csv").write_text(text)
    assert sample("a.csv").cells == cells


def test_what_has_to_be_said_of_a_file_is_found_and_explained() -> None:
    Path("a.csv").write_bytes("q;a\nüber;schön\n".encode("cp1252"))
    given, notes = options("a.csv")
    assert given == Csv(encoding="cp1252")
    assert notes == [
        "a.csv is not UTF-8, and is read as cp1252; if letters look wrong in the examples, write its encoding"
    ]
    Path("b.csv").write_text("0.5,x\n0.7,y\n")
    assert options("b.csv") == (Csv(header=False), ["b.csv has no header: its first row begins with '0.5'"])
    Path("c.csv").write_text("q,a\nx,y\n", encoding="utf-16")
    assert options("c.csv") == (None, [])
    Path("d.csv").write_bytes(b"q,a\n" + "ü".encode() * (1 << 18) + b",y\n")  # cut inside a character
    assert options("d.csv") == (None, [])


def test_fields_lists_and_numbers_of_json_are_found() -> None:
    rows = [{"q": "x", "meta": {"title": "t", "more": {"n": 1}}, "pos": ["a", "b"], "n": 1, "none": None}]
    rows += [{"q": "y", "meta": {"title": "u", "more": {"n": 2}}, "pos": ["c"], "n": 2.5, "none": None}]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = sample("a.jsonl")
    assert found.kinds == {
        "q": "text", "meta.title": "text", "meta.more.n": "number", "pos": "texts", "n": "number", "none": "empty",
    }  # fmt: skip
    assert found.cells["meta.title"] == ["t", "u"]
    assert (found.rows, found.is_whole) == (2, True)


def test_a_column_of_several_types_does_not_hide_the_others() -> None:
    rows = [{"q": "x", "a": "y", "mixed": 1}, {"q": "z", "a": "w", "mixed": "text"}]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = sample("a.jsonl")
    assert found.kinds == {"q": "text", "a": "text", "mixed": "other"}
    assert found.cells == {"q": ["x", "z"], "a": ["y", "w"]}


def test_of_a_large_file_the_first_rows_are_read() -> None:
    table = pa.table({"q": [f"text {n}" for n in range(5_000)], "meta": [{"n": n} for n in range(5_000)]})
    parquet.write_table(table, "a.parquet")
    found = sample("a.parquet")
    assert found.kinds == {"q": "text", "meta.n": "integer"}
    assert (found.rows, found.is_whole) == (SAMPLED_ROWS, False)
    assert found.cells["q"][-1] == "text 1999"


def test_a_broken_file_is_refused() -> None:
    Path("a.jsonl").write_text('{"q": "x"}\nno json\n')
    with pytest.raises(InvalidRequestError, match=r"a.jsonl is not JSON in row 2"):
        sample("a.jsonl")
    Path("a.parquet").write_text("no parquet")
    with pytest.raises(InvalidRequestError, match=r"a.parquet cannot be read as parquet"):
        sample("a.parquet")
