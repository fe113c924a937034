"""Kinds of columns, and the layout of values in memory."""

import pyarrow as pa
import pytest

from embedstep.data.cells import fixed_bytes, kind_of, row_lists


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (pa.string(), "text"),
        (pa.large_string(), "text"),
        (pa.dictionary(pa.int8(), pa.string()), "text"),
        (pa.uint8(), "integer"),
        (pa.bool_(), "integer"),
        (pa.decimal128(5, 2), "number"),
        (pa.float16(), "number"),
        (pa.list_(pa.string()), "texts"),
        (pa.list_(pa.int32(), 3), "numbers"),
        (pa.list_(pa.null()), "empty"),
        (pa.null(), "empty"),
        (pa.list_(pa.list_(pa.string())), None),
        (pa.timestamp("s"), None),
        (pa.binary(), None),
    ],
    ids=str,
)
def test_a_kind_is_known_whatever_type_spells_it(dtype: pa.DataType, kind: str | None) -> None:
    assert kind_of(dtype) == kind


def test_several_columns_become_one_list_for_each_row() -> None:
    columns = [pa.array([1.0, 2.0, 3.0]), pa.array([10.0, 20.0, 30.0])]
    assert row_lists(columns).to_pylist() == [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]
    assert row_lists([column[:0] for column in columns]).to_pylist() == []


def test_the_bytes_of_a_slice_are_those_of_its_values() -> None:
    array = pa.array([1, 2, 3, 4], pa.int64())
    assert list(fixed_bytes(array[1:3], 8).cast("q")) == [2, 3]
