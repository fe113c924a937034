"""Which rows count as the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.duplicates import TextHashes, anchors_in, count_duplicates, overlapping_rows
from embedstep.data.facts import DatasetFacts

Read = Callable[..., DatasetFacts]


def numbers(**columns: list[Any]) -> dict[str, Any]:
    kinds: Any = {name: "texts" if isinstance(cells[0], list) else "text" for name, cells in columns.items()}
    found = TextHashes(kinds)
    batch = pa.RecordBatch.from_pydict(columns)
    for start in range(0, batch.num_rows, 2):
        found.update(batch.slice(start, 2))
    return found.by_column()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Open a file", "open  a\tFILE "),
        ("Straße", "STRAẞE"),
        ("ﬁle", "file"),
        ("cafe\u0301", "Café"),
        ("open\u00a0it", "open it"),
        ("line\r\nbreak", "line break"),
        ("\uff21", "a"),
    ],
)
def test_texts_that_look_the_same_are_the_same(one: str, other: str) -> None:
    assert count_duplicates(numbers(anchor=[one, "b", other])) == 1


@pytest.mark.parametrize(("one", "other"), [("open", "opens"), ("1", "I"), ("resume", "résumé"), ("a-b", "a b")])
def test_other_texts_are_not(one: str, other: str) -> None:
    assert count_duplicates(numbers(anchor=[one, other])) == 0


@pytest.mark.parametrize(
    ("columns", "count"),
    [
        ({"anchor": ["a", "a", "A"], "positive": ["p", "q", "P"]}, 1),
        ({"anchor": ["a", "p"], "positive": ["p", "a"]}, 0),
        ({"anchor": ["ab", "a"], "positive": ["c", "bc"]}, 0),
        ({"anchor": ["a", "a", "a"], "positive": [["p", "q"], ["pq"], ["P", "Q "]]}, 1),
        ({"anchor": ["a"] * 5}, 4),
    ],
)
def test_a_row_repeats_when_all_its_texts_do(columns: dict[str, list[Any]], count: int) -> None:
    assert count_duplicates(numbers(**columns)) == count


def test_overlap_is_by_anchors() -> None:
    training = numbers(anchor=["a", "b"], positive=["p", "q"])
    held_out = numbers(anchor=["A", "a", "c", "b"], positive=["P", "other", "p", "q"])
    assert overlapping_rows(held_out, anchors_in([training])).tolist() == [0, 1, 3]
    assert overlapping_rows(numbers(anchor=["c", "x"]), anchors_in([training, numbers(anchor=["X"])])).tolist() == [1]
    assert overlapping_rows(numbers(positive=["p"]), anchors_in([training])).tolist() == []


@given(st.lists(st.tuples(st.sampled_from("aAbc "), st.sampled_from("xX yZ")), min_size=1))
def test_counts_are_those_of_a_set(rows: list[tuple[str, str]]) -> None:
    anchors, positives = zip(*rows, strict=True)
    seen = {(one.lower().strip(), other.lower().strip()) for one, other in rows}
    assert count_duplicates(numbers(anchor=list(anchors), positive=list(positives))) == len(rows) - len(seen)


def test_reading_counts_duplicates(read: Read, folder: Path) -> None:
    rows = [{"q": "open a file", "d": "x"}, {"q": "Open a  file", "d": "X"}, {"q": "other", "d": "x"}]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read("rows.jsonl", anchor="q", positive="d").duplicate_rows == 1
    assert read("rows.jsonl", anchor="q").duplicate_rows == 1
    assert read("rows.jsonl", anchor="d").duplicate_rows == 2
