"""The first rows of files of which nobody has said how they are written and which columns they have.

They are read as a run reads them, so that what is proposed from them can be read.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from embedstep.data.cells import TYPES, Kind, NotIntegersError, kind_of, to_canonical
from embedstep.data.encodings import UTF8, marked_encoding, unmarked_encoding
from embedstep.data.facts import ColumnKind
from embedstep.data.formats import as_written, column_names, read_batches, read_schema
from embedstep.data.nested import with_fields
from embedstep.data.roles import READ, Role
from embedstep.data.sources import DataFile
from embedstep.errors import InvalidRequestError
from embedstep.request.sources import Csv

SAMPLED_ROWS = 2_000
"""Rows that are read of each file."""
_HEAD_BYTES = 256 << 10
_GUESSED_ENCODING = "cp1252"
_LONGEST_NAME, _MOST_WORDS = 60, 6
"""Characters and words of the name of a column, above which it is a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """The first rows of a file.

    Attributes:
        file: the file, as it is written.
        cells: cells of each column that can be read.
        kinds: kind of each column; `other` for one that no role can have.
        rows: number of rows.
        bytes: bytes of the rows in memory.
        is_whole: whether these are all rows of the file.
    """

    file: DataFile
    cells: Mapping[str, list[Any]]
    kinds: Mapping[str, Kind | Literal["other"]]
    rows: int
    bytes: int
    is_whole: bool


def csv_options(where: str, file: DataFile) -> tuple[Csv | None, list[str]]:
    """Return what has to be said of a delimited file that cannot be found for certain, and why."""
    if file.format not in ("csv", "tsv", "text"):
        return None, []
    as_written(where, file, None, None)  # which refuses a file that cannot be opened
    said: dict[str, Any] = {}
    notes = []
    if not _is_unicode(file):
        said["encoding"] = _GUESSED_ENCODING
        notes.append(
            f"{file.name} is not UTF-8, and is read as {_GUESSED_ENCODING}; if letters look wrong in the examples, "
            "write its encoding"
        )
    if file.format != "text":
        written = as_written(where, file, Csv(**said), None)
        first = read_schema(where, written, ()).names
        if _are_values(first):
            said["header"] = False
            notes.append(f"{file.name} has no header: its first row begins with {first[0]!r}")
    return (Csv(**said) if said else None), notes


def _is_unicode(file: DataFile) -> bool:
    with file.open_bytes() as source:
        head = source.read(_HEAD_BYTES)
    if marked_encoding(head) != UTF8 or unmarked_encoding(head):
        return True
    try:
        # The last bytes may be a part of a character.
        head[: max(len(head) - 4, 0) if len(head) == _HEAD_BYTES else None].decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and len(head) == _HEAD_BYTES
    return True


def _are_values(names: Sequence[str]) -> bool:
    """Whether the first row of a table holds values, such as numbers and sentences, and no names of columns."""
    return any(
        _is_number(name) or len(name) > _LONGEST_NAME or len(name.split()) > _MOST_WORDS or name.endswith("?")
        for name in names
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_sample(where: str, file: DataFile, given: Csv | None) -> Sample:
    """Read the first rows of a file, with all columns that a role can have.

    Args:
        where: path of the dataset in the request, for problems.
        file: the file.
        given: what has to be said of a delimited file; see `csv_options`.

    Raises:
        InvalidRequestError: the file is broken. A JSON file with values of several types in a column is not.
        CannotStartError: the file's server could not be reached.
    """
    written = as_written(where, file, given, None)
    names = column_names(where, written)
    # In JSON, only the columns that are asked for have a type.
    roles = [Role(name=name, key=READ, column=name) for name in names] if file.format == "jsonl" else ()
    schema = with_fields(read_schema(where, written, roles), names)
    # Which column is meant by a name that several have, cannot be said in a request.
    own = {name: schema.field(name).type for name in names if schema.names.count(name) == 1}
    types = {name: as_type for name, dtype in own.items() if (as_type := _read_as(written, dtype)) is not None}
    kinds: dict[str, Kind | Literal["other"]] = dict.fromkeys(names, "other")
    kinds |= {name: kind_of(types.get(name, dtype)) or "other" for name, dtype in own.items()}
    batches, is_whole, broken = _readable_rows(where, written, types)
    kinds |= dict.fromkeys(broken, "other")
    cells = {name: _cells(batches, name, kinds) for name in types if name not in broken}
    return Sample(
        file=written,
        cells=cells,
        kinds=kinds,
        rows=sum(batch.num_rows for batch in batches),
        bytes=sum(batch.nbytes for batch in batches),
        is_whole=is_whole,
    )


def _read_as(file: DataFile, dtype: pa.DataType) -> pa.DataType | None:
    """Return the type to read a column as; None for one that is left out."""
    kind = kind_of(dtype)
    if kind in TYPES:
        return dtype
    # A date in a text file is the text that it is written as.
    return pa.string() if kind is None and file.format in ("csv", "tsv") else None


def _first_rows(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> tuple[list[pa.RecordBatch], bool]:
    """Return the first rows, and whether they are all."""
    taken: list[pa.RecordBatch] = []
    rows = 0
    try:
        for batch in read_batches(where, file, types) if types else ():
            taken.append(batch.slice(0, SAMPLED_ROWS - rows))
            rows += batch.num_rows
            if rows >= SAMPLED_ROWS:
                return taken, False
    except NotIntegersError:
        numbers = {name: pa.float64() if kind_of(dtype) == "integer" else dtype for name, dtype in types.items()}
        return _first_rows(where, file, numbers)
    return taken, True


def _readable_rows(
    where: str, file: DataFile, types: Mapping[str, pa.DataType]
) -> tuple[list[pa.RecordBatch], bool, list[str]]:
    """Return the first rows, whether they are all, and the columns that are left out because of their values."""
    try:
        return *_first_rows(where, file, types), []
    except InvalidRequestError:
        broken = [name for name in types if not _is_readable(where, file, name, types[name])]
        if file.format != "jsonl" or not broken:
            raise
    kept = {name: dtype for name, dtype in types.items() if name not in broken}
    return *_first_rows(where, file, kept), broken


def _is_readable(where: str, file: DataFile, name: str, dtype: pa.DataType) -> bool:
    try:
        _first_rows(where, file, {name: dtype})
    except InvalidRequestError:
        return False
    return True


def _cells(batches: Sequence[pa.RecordBatch], name: str, kinds: dict[str, Any]) -> list[Any]:
    """Return the cells of a column, and correct its kind where integers turned out to be numbers."""
    found: list[Any] = []
    for batch in batches:
        array = batch.column(name)
        kind: ColumnKind = kind_of(array.type)  # type: ignore[assignment]
        kinds[name] = kind
        found += to_canonical(array, kind).to_pylist()
    return found
