"""Columns with lists of texts: spread over columns, given a row each, or left empty."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.facts import DatasetFacts
from embedstep.data.lists import list_lengths, nth_texts, one_by_one, source_columns, without_nulls
from embedstep.data.roles import RowNeeds, list_roles
from embedstep.request.columns import Columns

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]
LISTS: list[Any] = [["a", "b", "c"], ["d"], [], None, ["e", "f"], ["g", ""]]
WRITTEN = Path("out.arrow")


def write(lists: list[Any] = LISTS, end: str = "parquet", **more: list[Any]) -> str:
    """Write a row for each list, and return the name of the file."""
    rows = [{"q": f"q{number}", "n": texts} for number, texts in enumerate(lists)]
    rows = [row | {name: values[number] for name, values in more.items()} for number, row in enumerate(rows)]
    if end == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), "a.parquet")
    else:
        Path(f"a.{end}").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"a.{end}"


def kept() -> list[tuple[Any, ...]]:
    """Return the rows that were written, each as a tuple."""
    rows = pa.ipc.open_stream(WRITTEN.read_bytes()).read_all().to_pylist()
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize("end", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("take", "otherwise", "rows", "dropped", "short"),
    [
        (1, "drop", [("q0", "a"), ("q1", "d"), ("q4", "e")], 3, 2),
        (2, "drop", [("q0", "a", "b"), ("q4", "e", "f")], 4, 3),
        (2, "repeat", [("q0", "a", "b"), ("q1", "d", "d"), ("q4", "e", "f")], 3, 1),
        (4, "repeat", [("q0", "a", "b", "c", "a"), ("q1", "d", "d", "d", "d"), ("q4", "e", "f", "e", "f")], 3, 3),
        (1, "refuse", [("q0", "a"), ("q1", "d"), ("q4", "e")], 3, 0),
    ],
)
def test_a_list_of_negatives_becomes_columns(
    read: Read, end: str, take: int, otherwise: str, rows: list[tuple[str, ...]], dropped: int, short: int
) -> None:
    negative = {"list": "n", "take": take, "otherwise": otherwise}
    facts = read(write(end=end), anchor="q", negative=negative, drop=True, write_to=WRITTEN)
    names = ["negative"] if take == 1 else [f"negative_{place + 1}" for place in range(take)]
    assert facts.columns == {"anchor": "text", **dict.fromkeys(names, "text")}
    assert (facts.rows, facts.dropped_rows, facts.short_rows) == (len(rows), dropped, short)
    assert kept() == rows


def test_a_list_is_the_same_as_columns(read: Read) -> None:
    pq.write_table(pa.table({"q": ["x", "y"], "one": ["a", "c"], "two": ["b", "d"]}), "b.parquet")
    columns = read("b.parquet", anchor="q", negative=["one", "two"])
    pq.write_table(pa.table({"q": ["x", "y"], "n": [["a", "b"], ["c", "d", "e"]]}), "a.parquet")
    assert read("a.parquet", anchor="q", negative={"list": "n", "take": 2}).fingerprint == columns.fingerprint


EMPTY = "; fill the cells, or drop such rows by data.drop_incomplete_rows: true"
FEWER = "; take fewer, or write otherwise: drop, or otherwise: repeat"


@pytest.mark.parametrize(
    ("negative", "drop", "problems"),
    [
        ({"take": 1}, False, [f"is empty in 1 row (row 6){EMPTY}", f"has no text in 2 rows (rows 3, 4){FEWER}"]),
        ({"take": 3}, True, [f"has fewer than 3 texts in 2 rows (rows 2, 5){FEWER}"]),
        ({"take": 9}, False, [f"has fewer than 9 texts in 6 rows (first 1, 2, 3, 4, 5){FEWER}"]),
        ({"take": 2, "otherwise": "drop"}, False, [f"is empty in 1 row (row 6){EMPTY}"]),
        ({"take": 2, "otherwise": "repeat"}, False, [f"is empty in 3 rows (rows 3, 4, 6){EMPTY}"]),
    ],
)  # fmt: skip
def test_rows_with_too_few_negatives_are_refused(
    refusal: Refusal, negative: dict[str, Any], drop: bool, problems: list[str]
) -> None:
    where = "data.train.docs.columns.negative: column 'n' of a.parquet "
    found = refusal(write(), anchor="q", negative={"list": "n", **negative}, drop=drop)
    assert found == [f"{where}{problem}" for problem in problems]


def test_no_row_left_is_refused(refusal: Refusal) -> None:
    assert refusal(write(), anchor="q", negative={"list": "n", "take": 9, "otherwise": "drop"}, drop=True) == [
        "data.train.docs.path: all 6 rows are incomplete, so no row is left"
    ]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"negative": {"list": "q", "take": 1}}, "negative: column 'q' holds text and no lists; write negative: q"),
        (
            {"positive": {"list": "q", "each": "row"}},
            "positive: column 'q' holds text and no lists; write positive: q",
        ),
        (
            {"negative": {"list": "s", "take": 1}},
            "negative: column 's' holds lists of numbers; a negative is text or a list of texts",
        ),
        (
            {"negative": {"list": "m", "take": 1}},
            "negative: a.parquet has no column 'm'; its columns are q, n, s",
        ),
        (
            {"positive": "n", "negative": {"list": "n", "take": 5}},
            "negative: column 'n' is named 2 times; a column has one role",
        ),
    ],
)
def test_a_column_without_lists_of_texts_is_refused(refusal: Refusal, columns: dict[str, Any], problem: str) -> None:
    assert refusal(write([["a"]], s=[[1.5]]), **columns) == [f"data.train.docs.columns.{problem}"]


@pytest.mark.parametrize("end", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("limit", "rows", "dropped"),
    [
        (None, [("q0", "a"), ("q0", "b"), ("q0", "c"), ("q1", "d"), ("q4", "e"), ("q4", "f"), ("q5", "g")], 3),
        (2, [("q0", "a"), ("q0", "b")], 0),
        (5, [("q0", "a"), ("q0", "b"), ("q0", "c"), ("q1", "d"), ("q4", "e")], 2),
    ],
)
def test_each_positive_of_a_list_has_a_row(
    read: Read, end: str, limit: int | None, rows: list[tuple[str, ...]], dropped: int
) -> None:
    positive = {"list": "n", "each": "row"}
    facts = read(write(end=end), anchor="q", positive=positive, drop=True, write_to=WRITTEN, limit=limit)
    assert (facts.columns, facts.dropped_rows) == ({"anchor": "text", "positive": "text"}, dropped)
    assert (facts.rows_read, facts.rows) == (6, len(rows))
    assert kept() == rows


def test_positives_and_negatives_may_both_be_lists(read: Read) -> None:
    """As in FlagEmbedding's files."""
    name = write([["a", "b"], ["c"]], "jsonl", neg=[["x", "y"], ["z"]])
    negative = {"list": "neg", "take": 2, "otherwise": "repeat"}
    facts = read(name, anchor="q", positive={"list": "n", "each": "row"}, negative=negative, write_to=WRITTEN)
    assert kept() == [("q0", "a", "x", "y"), ("q0", "b", "x", "y"), ("q1", "c", "z", "z")]
    assert facts.short_rows == 1


def test_a_row_of_the_file_is_reported_once(refusal: Refusal) -> None:
    name = write([["a", "", "b", ""], ["c"], []])
    assert refusal(name, anchor="q", positive={"list": "n", "each": "row"}) == [
        f"data.train.docs.columns.positive: column 'n' of a.parquet is empty in 2 rows (rows 1, 3){EMPTY}"
    ]


@pytest.mark.parametrize("end", ["parquet", "jsonl"])
@pytest.mark.parametrize("lists", [[["a"], [], ["b", "c"]], [["a"], None], [[], []], [None, None]], ids=str)
def test_a_list_may_be_empty_where_nobody_needs_it(read: Read, end: str, lists: list[Any]) -> None:
    name = write(lists, end)
    facts = read(name, anchor="q", negative="n", needs=RowNeeds(optional_negatives=True), write_to=WRITTEN)
    assert (facts.columns, facts.rows) == ({"anchor": "text", "negative": "texts"}, len(lists))
    assert kept() == [(f"q{number}", texts or []) for number, texts in enumerate(lists)]


def test_rows_with_an_empty_list_are_dropped_where_that_is_asked_for(read: Read) -> None:
    needs = RowNeeds(optional_negatives=True)
    facts = read(write([["a"], [], None]), anchor="q", negative="n", needs=needs, drop=True)
    assert (facts.rows, facts.dropped_rows) == (1, 2)


def test_an_empty_text_in_such_a_list_is_refused(refusal: Refusal) -> None:
    needs = RowNeeds(optional_negatives=True)
    assert refusal(write([["a"], [], ["b", " "]]), anchor="q", negative="n", needs=needs) == [
        f"data.train.docs.columns.negative: column 'n' of a.parquet is empty in 1 row (row 3){EMPTY}"
    ]


TEXTS = st.lists(st.none() | st.lists(st.text(max_size=3), max_size=4), max_size=8)


@given(TEXTS, st.integers(0, 3))
def test_a_part_of_an_array_gives_what_it_holds(lists: list[list[str] | None], start: int) -> None:
    array: Any = pa.array(lists, pa.list_(pa.string()))[start:]
    given_lists = array.to_pylist()
    assert list_lengths(array).tolist() == [len(texts or []) for texts in given_lists]
    assert without_nulls(array).to_pylist() == [texts or [] for texts in given_lists]
    texts, parents = one_by_one(array)
    assert texts.to_pylist() == [text for texts in given_lists for text in texts or [None]]
    assert parents.tolist() == [row for row, texts in enumerate(given_lists) for _ in texts or [None]]
    filled = array.filter(pa.array(list_lengths(array) > 0))
    assert nth_texts(filled, 2).to_pylist() == [texts[2 % len(texts)] for texts in given_lists if texts]


@pytest.mark.parametrize("take", [1, 3])
def test_rows_get_back_the_columns_that_a_request_names(take: int) -> None:
    columns = Columns.model_validate(
        {
            "anchor": "q",
            "positive": {"list": "p", "each": "row"},
            "negative": {"list": "n", "take": take},
            "label": "s",
        }
    )
    roles = list_roles(columns)
    cells = {role.name: [f"{role.name} {row}" for row in range(2)] for role in roles}
    found = pa.table(source_columns(roles, pa.table(cells)))
    names = [role.name for role in roles if role.key == "negative"]
    assert found.to_pylist() == [
        {"q": f"anchor {row}", "p": [f"positive {row}"], "n": [f"{name} {row}" for name in names]} for row in range(2)
    ]
