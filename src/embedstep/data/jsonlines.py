"""Read JSON lines with pyarrow, and with `json` where an error has to name its rows.

pyarrow needs the types beforehand, and fails at the first value of another type without naming its row. So the types
come from the first rows, and after a failure a slow second pass finds all wrong rows.
"""

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa

from embedstep.data.cells import NotIntegersError
from embedstep.data.jsondocuments import document_columns, document_lines, is_document
from embedstep.data.nested import (
    Path,
    leaf_names_of_row,
    path_field,
    path_in_row,
    pick_columns,
    schema_of_paths,
    value_in_place_of_object,
)
from embedstep.data.sources import DataFile
from embedstep.errors import InvalidRequestError, Problem

_BLOCK_BYTES = 8 << 20
_FIRST_ROWS = 100
_SHOWN_ROWS = 5
_TYPES: Mapping[type, pa.DataType] = {
    type(None): pa.null(), bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string(),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One line that is not blank: its number from 1, and its object, or what is wrong with it."""

    number: int
    cells: Mapping[str, Any]
    fault: str = ""


def find_document(file: DataFile, columns: Sequence[str]) -> DataFile:
    """Return the file with whether its rows are in one document, which is read as a whole."""
    return replace(file, is_document=is_document(file, columns))


@contextmanager
def _open_lines(where: str, file: DataFile, columns: Collection[str]) -> Iterator[BinaryIO]:
    if not file.is_document:
        with file.open_bytes() as source:
            yield source
        return
    # In memory, as the document is: pyarrow reads in a thread of its own, which should not run code of ours.
    yield io.BytesIO(b"".join(document_lines(where, file, columns)))


def jsonl_columns(where: str, file: DataFile) -> tuple[str, ...]:
    """Return the names in the first 100 rows, those of an object's fields in its place.

    Raises:
        InvalidRequestError: one of them is no JSON object, or a document has no rows in a form that is known.
    """
    known = document_columns(file) if file.is_document else ()
    names: dict[str, None] = {}
    for row in islice(_rows(where, file, known), _FIRST_ROWS):
        if row.fault:
            raise InvalidRequestError(_find_faults(where, file, known, {}))
        names |= dict.fromkeys(leaf_names_of_row(row.cells))
    return tuple(names)


def jsonl_schema(where: str, file: DataFile, columns: Sequence[str]) -> pa.Schema:
    """Return the columns of the first rows: at least 100, and more until each of `columns` has a value.

    Columns that are not requested have the type null, because their values are not examined.

    Raises:
        InvalidRequestError: the file has no rows, or a line that is no JSON object.
    """
    types: dict[str, pa.DataType] = {}
    row = None
    for row in _rows_with_fields(where, file, columns):
        if row.fault:
            raise InvalidRequestError(_find_faults(where, file, columns, {}))
        for name, value in row.cells.items():
            if pa.types.is_null(types.setdefault(name, pa.null())) and name in columns:
                types[name] = _type_of(value)
        if row.number >= _FIRST_ROWS and pa.null() not in [types.get(column, pa.null()) for column in columns]:
            break
    if row is None:
        raise InvalidRequestError.at(f"{where}.path", f"{file.name} has no rows")
    paths = _paths(where, file, columns)
    return pa.schema([path_field(name, dtype, paths.get(name, (name,))) for name, dtype in types.items()])


def jsonl_batches(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Yield the columns of `types`, a batch for each 8 MiB of the file.

    Raises:
        NotIntegersError: a column is int64 in `types`, but also has other numbers.
        InvalidRequestError: with the rows that are no JSON object or have a value of another type.
        pyarrow.ArrowInvalid: pyarrow cannot read the file, and the second pass finds no mistake.
    """
    from pyarrow import json as arrow_json

    paths = _paths(where, file, list(types))
    schema = schema_of_paths({paths[name]: dtype for name, dtype in types.items()})
    options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    reading = arrow_json.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    try:
        with _open_lines(where, file, types) as source, arrow_json.open_json(source, reading, options) as reader:
            for batch in reader:
                batch.validate(full=True)
                yield pick_columns(batch, list(types))
    except pa.ArrowInvalid as error:
        if problems := _find_faults(where, file, types, types):
            raise InvalidRequestError(problems) from error
        if pa.int64() in types.values():
            raise NotIntegersError from error
        raise


def _paths(where: str, file: DataFile, columns: Sequence[str]) -> dict[str, Path]:
    """Return the path of each column in the objects of a file, as the first row with one of its name has it."""
    paths: dict[str, Path] = {name: (name,) for name in columns if "." not in name}
    for row in _rows(where, file, columns) if len(paths) < len(columns) else ():
        found = ((name, path_in_row(row.cells, name)) for name in columns if name not in paths)
        paths |= {name: path for name, path in found if path is not None}
        if len(paths) == len(columns):
            break
    return {name: paths.get(name, (name,)) for name in columns}


def _rows_with_fields(where: str, file: DataFile, columns: Collection[str]) -> Iterator[_Row]:
    """Yield the rows; `columns` that are fields of objects are there under their own names, too."""
    return (_with_fields(row, columns) for row in _rows(where, file, columns))


def _rows(where: str, file: DataFile, columns: Collection[str]) -> Iterator[_Row]:
    with _open_lines(where, file, columns) as source:
        number = 0
        for line in source:
            if text := line.removeprefix(b"\xef\xbb\xbf").strip():
                number += 1
                yield _row(number, text)


def _with_fields(row: _Row, columns: Collection[str]) -> _Row:
    nested = [name for name in columns if "." in name and name not in row.cells]
    cells = dict(row.cells)
    for name in nested:
        if (path := path_in_row(row.cells, name)) is not None:
            cells[name] = reduce(lambda found, key: found[key], path, row.cells)
    return replace(row, cells=cells) if nested else row


def _row(number: int, text: bytes) -> _Row:
    try:
        cells = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        return _Row(number=number, cells={}, fault="is not UTF-8 text")
    except (ValueError, RecursionError):
        return _Row(number=number, cells={}, fault="is not JSON")
    if not isinstance(cells, dict):
        return _Row(number=number, cells={}, fault=f"is a JSON {_json_type(cells)}")
    return _Row(number=number, cells=cells)


def _find_faults(
    where: str, file: DataFile, columns: Collection[str], types: Mapping[str, pa.DataType]
) -> list[Problem]:
    """Return a problem for each kind of mistake in the file, with the first rows that have it."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in _rows_with_fields(where, file, columns):
        if row.fault:
            found.setdefault((row.fault, "one object on each line"), []).append(row.number)
        for column, dtype in types.items():
            value = row.cells.get(column)
            if value is None and (other := value_in_place_of_object(row.cells, column)) is not None:
                fault = f"holds a JSON {_json_type(other[1])} in column {other[0]!r}"
                found.setdefault((fault, "an object"), []).append(row.number)
            if value is not None and not _fits(value, dtype):
                fault = f"holds a JSON {_json_type(value)} in column {column!r}"
                found.setdefault((fault, _required(dtype)), []).append(row.number)
    return [
        Problem(f"{where}.path", f"{file.name} {fault} in {_list_rows(rows)}; {wanted} is needed")
        for (fault, wanted), rows in found.items()
    ]


def _list_rows(rows: Sequence[int]) -> str:
    more = f" and {len(rows) - _SHOWN_ROWS:,} more" if len(rows) > _SHOWN_ROWS else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(str(row) for row in rows[:_SHOWN_ROWS])}{more}"


def _type_of(value: Any) -> pa.DataType:
    if not isinstance(value, list):
        return _TYPES.get(type(value), pa.struct([]))
    dtype = _type_of(next((element for element in value if element is not None), None))
    return dtype if pa.types.is_null(dtype) else pa.list_(pa.float64() if dtype == pa.int64() else dtype)


def _fits(value: Any, dtype: pa.DataType) -> bool:
    if isinstance(dtype, pa.ListType):
        element = dtype.value_type
        return isinstance(value, list) and all(each is None or _fits(each, element) for each in value)
    if dtype == pa.string():
        return isinstance(value, str)
    if dtype == pa.bool_():
        return isinstance(value, bool)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _required(dtype: pa.DataType) -> str:
    if isinstance(dtype, pa.ListType):
        return f"an array with {_required(dtype.value_type)} in each place"
    return {pa.string(): "a string", pa.bool_(): "true or false"}.get(dtype, "a number")


def _json_type(value: Any) -> str:
    names = {bool: "truth value", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
