"""JSON lines: types from the first rows that have a value, and batches of one type."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from embedstep.data.cells import NotIntegersError
from embedstep.data.jsonlines import jsonl_batches, jsonl_schema
from embedstep.data.sources import DataFile, find_files


def lines(*rows: Any) -> DataFile:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (file,) = find_files("data.train.docs", ["rows.jsonl"], None)
    return file


def test_a_type_is_that_of_the_first_value_however_late_it_comes() -> None:
    file = lines(*[{"text": "a", "label": None}] * 150, {"text": "a", "label": 3})
    schema = jsonl_schema("data.train.docs", file, ("text", "label"))
    assert schema.names == ["text", "label"]
    assert schema.types == [pa.string(), pa.int64()]


def test_integers_in_a_list_are_numbers() -> None:
    schema = jsonl_schema("data.train.docs", lines({"label": [1, 2]}), ("label",))
    assert schema.field("label").type == pa.list_(pa.float64())


def test_columns_that_nobody_asked_for_are_not_read() -> None:
    (batch,) = jsonl_batches("data.train.docs", lines({"text": "a", "other": [{}]}), {"text": pa.string()})
    assert batch.to_pylist() == [{"text": "a"}]


def test_a_fraction_among_integers_starts_the_reading_again() -> None:
    with pytest.raises(NotIntegersError):
        list(jsonl_batches("data.train.docs", lines({"label": 1}, {"label": 1.5}), {"label": pa.int64()}))
