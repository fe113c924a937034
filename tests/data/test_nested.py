"""Roles given to fields of columns that hold objects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.data.nested import leaf_names, leaf_names_of_row, path_in_row, path_in_schema

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]
ROWS: list[dict[str, Any]] = [
    {"meta": {"title": "one", "source": {"name": "web", "rank": 1}}, "text": "first"},
    {"meta": {"title": "two", "source": {"name": "book", "rank": 2}}, "text": "second"},
]


def write(rows: list[dict[str, Any]], form: str) -> str:
    """Write the rows in a format, and return the path."""
    match form:
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), "a.parquet")
        case "arrow":
            table = pa.Table.from_pylist(rows)
            with pa.OSFile("a.arrow", "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=1)
        case _:
            Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"a.{form}"


def kept() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pa.ipc.open_stream(Path("out.arrow").read_bytes()).read_all().to_pylist()
    return found


FORMS = pytest.mark.parametrize("form", ["parquet", "arrow", "jsonl"])


@FORMS
def test_a_field_is_read_like_a_column(read: Read, form: str) -> None:
    columns = {"anchor": "meta.title", "positive": "text", "negative": "meta.source.name", "label": "meta.source.rank"}
    facts = read(write(ROWS, form), **columns, write_to=Path("out.arrow"))
    assert kept() == [
        {"anchor": "one", "positive": "first", "negative": "web", "label": 1},
        {"anchor": "two", "positive": "second", "negative": "book", "label": 2},
    ]
    assert facts.dropped_columns == ()
    pq.write_table(pa.Table.from_pylist(kept()), "flat.parquet")
    assert facts.fingerprint == read("flat.parquet", **{role: role for role in columns}).fingerprint


@FORMS
def test_a_column_of_that_name_comes_first(read: Read, form: str) -> None:
    rows = [{"meta": {"title": "field"}, "meta.title": "column", "a.b": {"c.d": "deep"}}]
    facts = read(write(rows, form), anchor="meta.title", positive="a.b.c.d", write_to=Path("out.arrow"))
    assert kept() == [{"anchor": "column", "positive": "deep"}]
    assert facts.dropped_columns == ("meta",)


@FORMS
def test_a_dot_in_a_name_is_no_field_of_a_text(read: Read, form: str) -> None:
    facts = read(write([{"a": "text", "a.b": "column"}], form), anchor="a.b", write_to=Path("out.arrow"))
    assert (kept(), facts.dropped_columns) == ([{"anchor": "column"}], ("a",))


@FORMS
def test_a_list_in_an_object_is_spread(read: Read, form: str) -> None:
    rows = [{"q": "x", "negs": {"hard": ["a", "b"]}}, {"q": "y", "negs": {"hard": ["c", "d"]}}]
    read(write(rows, form), anchor="q", negative={"list": "negs.hard", "take": 2}, write_to=Path("out.arrow"))
    assert [list(row.values()) for row in kept()] == [["x", "a", "b"], ["y", "c", "d"]]


@FORMS
def test_a_missing_object_is_an_empty_cell(read: Read, refusal: Refusal, form: str) -> None:
    name = write([*ROWS, {"meta": None, "text": "third"}, {"meta": {"title": ""}, "text": "fourth"}], form)
    assert read(name, anchor="meta.title", positive="text", drop=True).dropped_rows == 2
    assert refusal(name, anchor="meta.title") == [
        f"data.train.docs.columns.anchor: column 'meta.title' of {name} is empty in 2 rows (rows 3, 4); "
        "fill the cells, or drop such rows by data.drop_incomplete_rows: true"
    ]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (
            "meta.titel",
            "a.parquet has no column 'meta.titel'; its columns are meta, text, meta.title, meta.source; did you mean "
            "meta.title?",
        ),
        ("text.title", "a.parquet has no column 'text.title'; its columns are meta, text"),
        ("meta.source.rank", "column 'meta.source.rank' holds integers; an anchor is text"),
        (
            "meta",
            "column 'meta' holds values of type struct<title: string, source: struct<name: string, rank: int64>>; an "
            "anchor is text; name a field of it, such as meta.title",
        ),
        (
            "meta.source",
            "column 'meta.source' holds values of type struct<name: string, rank: int64>; an anchor is text; name a "
            "field of it, such as meta.source.name",
        ),
    ],
)
def test_what_is_no_text_is_refused(refusal: Refusal, column: str, problem: str) -> None:
    assert refusal(write(ROWS, "parquet"), anchor=column) == [f"data.train.docs.columns.anchor: {problem}"]


@pytest.mark.parametrize(
    ("others", "problem"),
    [
        ([{"meta": "three"}], "holds a JSON string in column 'meta' in row 3; an object is needed"),
        ([{"meta": {"source": 5}}], "holds a JSON number in column 'meta.source' in row 3; an object is needed"),
        (
            [{}, {"meta": {"source": {"name": 7}}}],
            "holds a JSON number in column 'meta.source.name' in row 4; a string is needed",
        ),
    ],
)
def test_a_row_of_another_form_is_named(refusal: Refusal, others: list[dict[str, Any]], problem: str) -> None:
    name = write([*ROWS, *others], "jsonl")
    assert refusal(name, anchor="meta.source.name", drop=True) == [f"data.train.docs.path: a.jsonl {problem}"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a.b.c", ("a", "b", "c")),
        ("d.e", ("d.e",)),
        ("d.e.f", ("d.e", "f")),
        ("a.x", None),
        ("d.f", None),
        ("a.", None),
        (".b", None),
    ],
)
def test_a_path_leads_to_what_is_there(name: str, path: tuple[str, ...] | None) -> None:
    row = {"a": {"b": {"c": "x"}}, "d.e": {"f": "y"}, "d": "z"}
    assert path_in_row(row, name) == path
    assert path_in_schema(pa.Table.from_pylist([row]).schema, name) == path


def test_objects_give_the_names_of_their_values() -> None:
    rows = [{"q": "x", "meta": {"title": "t", "more": {"n": 1}}, "pos": ["a"]}]
    names = ("q", "meta.title", "meta.more.n", "pos")
    assert leaf_names(pa.Table.from_pylist(rows).schema) == names
    assert tuple(leaf_names_of_row(rows[0])) == names
