"""The kinds of columns, the Arrow type of each kind, and empty cells.

Files store the same values in many types (dictionary, large or view strings, small integers, decimals). Each column is
converted to the one type of its kind, so that rows from different formats compare equal.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from embedstep.data.facts import ColumnKind
from embedstep.errors import EmbedstepError

TYPES: dict[ColumnKind, pa.DataType] = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "integer": pa.int64(),
    "number": pa.float64(),
    "numbers": pa.list_(pa.float64()),
}
KIND_NAMES: dict[ColumnKind, str] = {
    "text": "text",
    "texts": "lists of texts",
    "integer": "integers",
    "number": "numbers",
    "numbers": "lists of numbers",
}
Kind = ColumnKind | Literal["empty"]
_LIST_KINDS: dict[Kind | None, Kind] = {"text": "texts", "integer": "numbers", "number": "numbers", "empty": "empty"}
"""Kind of a column of lists by that of their elements."""


class NotIntegersError(EmbedstepError):
    """A column of a text file began with integers and may have other numbers; it has to be read as numbers.

    Never raised outside this package.
    """


class FractionsError(EmbedstepError):
    """A label that is read as an integer has a fraction after all.

    Never raised outside this package.
    """


def kind_of(dtype: pa.DataType) -> Kind | None:
    """Return the kind of a column of type `dtype`, `empty` for a column of nulls, or None for any other type."""
    if pt.is_dictionary(dtype):
        return kind_of(dtype.value_type)
    if pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype):
        return _LIST_KINDS.get(kind_of(dtype.value_type))
    if pt.is_string(dtype) or pt.is_large_string(dtype) or pt.is_string_view(dtype):
        return "text"
    # True and false are the classes 1 and 0.
    if pt.is_integer(dtype) or pt.is_boolean(dtype):
        return "integer"
    if pt.is_floating(dtype) or pt.is_decimal(dtype):
        return "number"
    return "empty" if pt.is_null(dtype) else None


def to_canonical(array: pa.Array[Any], kind: ColumnKind) -> pa.Array[Any]:
    """Convert `array` to the type of `kind`.

    Raises:
        pyarrow.ArrowInvalid: a value does not fit, such as an unsigned integer above 2**63.
    """
    if isinstance(array, pa.DictionaryArray):
        return to_canonical(array.dictionary_decode(), kind)
    if pt.is_null(array.type) or kind_of(array.type) == "empty":
        return pa.array([None] * len(array), TYPES[kind])
    return array if array.type == TYPES[kind] else array.cast(TYPES[kind])


def is_incomplete(array: pa.Array[Any], kind: ColumnKind) -> pa.BooleanArray:
    """Return a mask of the empty cells of an array in the type of its kind.

    Empty are null, NaN, text of white space only, a list without elements, and a list with an empty element.
    """
    match kind:
        case "text":
            texts: Any = array
            blank: pa.BooleanArray = pc.or_(_is_zero(pc.binary_length(texts)), pc.utf8_is_space(texts))
            return pc.or_kleene(blank, pc.is_null(array))
        case "integer" | "number":
            return pc.is_null(array, nan_is_null=True)
        case "texts":
            return _incomplete_lists(array, "text")
        case "numbers":
            return _incomplete_lists(array, "number")


def as_integers(numbers: pa.Array[Any]) -> pa.Array[Any]:
    """Return float64 numbers without nulls as int64.

    Raises:
        FractionsError: one of them is no integer of 64 bits.
    """
    try:
        return numbers.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise FractionsError from error


def _is_zero(lengths: Any) -> pa.BooleanArray:
    """Compare with 0 by a cast: a Python number as an operand makes pyarrow import pandas, which takes 0.2 s."""
    zero: pa.BooleanArray = pc.invert(lengths.cast(pa.bool_()))
    return zero


def has_empty_text(lists: pa.Array[Any]) -> pa.BooleanArray:
    """Return a mask of the lists of texts with an empty text; a list without texts has none."""
    return pc.and_not(_incomplete_lists(lists, "text"), _without_elements(lists))


def _incomplete_lists(array: pa.Array[Any], element: ColumnKind) -> pa.BooleanArray:
    without_elements = _without_elements(array)
    bad_elements = is_incomplete(pc.list_flatten(array), element)
    if not pc.any(bad_elements).as_py():
        return without_elements
    parents = set(pc.list_parent_indices(array).filter(bad_elements).to_pylist())
    return pc.or_(without_elements, pa.array([row in parents for row in range(len(array))]))


def _without_elements(array: pa.Array[Any]) -> pa.BooleanArray:
    return pc.or_kleene(_is_zero(pc.list_value_length(array)), pc.is_null(array))


def fixed_bytes(array: pa.Array[Any], width: int) -> memoryview:
    """Return the buffer of an array without nulls, `width` bytes for each value."""
    values = array.buffers()[1]
    if values is None:
        return memoryview(b"")
    return memoryview(values)[array.offset * width : (array.offset + len(array)) * width]


def row_lists(columns: Sequence[pa.Array[Any]]) -> pa.Array[Any]:
    """Combine several float64 columns without nulls into one column of lists."""
    rows, width = len(columns[0]), len(columns)
    values = memoryview(bytearray(8 * rows * width)).cast("d")
    for position, column in enumerate(columns):
        values[position::width] = fixed_bytes(column, 8).cast("d")
    elements = pa.Array.from_buffers(pa.float64(), rows * width, [None, pa.py_buffer(values)])
    return pa.ListArray.from_arrays(pa.array(range(0, rows * width + 1, width), pa.int32()), elements)
