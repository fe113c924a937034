"""Columns that no loss gets and a reader keeps all the same."""

from pathlib import Path
from typing import Any

import pytest
from pyarrow import Table, ipc, parquet

from embedstep.data.facts import DatasetFacts
from embedstep.data.reading import scan
from embedstep.errors import InvalidRequestError
from embedstep.request.datasets import Dataset

ROWS = [
    {"query": f"query {number}", "answer": f"answer {number}", "tokens": number, "topic": "ab"[number % 2]}
    for number in range(6)
]


def scanned(rows: list[dict[str, object]], lengths: str | None = None, slices: str | None = None) -> DatasetFacts:
    parquet.write_table(Table.from_pylist(rows), "rows.parquet")
    dataset = Dataset.model_validate({"path": "rows.parquet", "columns": {"anchor": "query", "positive": "answer"}})
    return scan(
        "eval", "docs", dataset, drop_incomplete_rows=False, write_to=Path("kept.arrow"), lengths=lengths, slices=slices
    )


def kept(column: str) -> list[Any]:
    values: list[Any] = ipc.open_stream(Path("kept.arrow").read_bytes()).read_all()[column].to_pylist()
    return values


def test_lengths_are_kept_and_are_no_input() -> None:
    facts = scanned(ROWS, lengths="tokens")
    assert (facts.has_lengths, facts.inputs) == (True, ("anchor", "positive"))
    assert kept("length") == list(range(6))


def test_slices_are_kept_and_do_not_change_what_the_rows_are() -> None:
    facts = scanned(ROWS, slices="topic")
    assert kept("slice") == list("ababab")
    assert facts.fingerprint == scanned(ROWS).fingerprint


@pytest.mark.parametrize("length", [-1, 2.5])
def test_a_length_that_counts_nothing_is_refused(length: float) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        scanned([*ROWS, {**ROWS[0], "query": "another", "tokens": length}], lengths="tokens")
    (problem,) = caught.value.problems
    assert problem.path == "arguments.length_column_name"
