"""Read files of all formats as batches of bounded size, with errors that name the file."""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pyarrow as pa

from embedstep.data.cells import NotIntegersError
from embedstep.data.jsonlines import jsonl_batches, jsonl_schema
from embedstep.data.nested import pick_columns
from embedstep.data.roles import LENGTH, Role
from embedstep.data.sources import DataFile, Format
from embedstep.data.stores import translate_store_errors
from embedstep.errors import InvalidRequestError, first_line

TEXT_FORMATS = frozenset({"jsonl", "csv", "tsv"})
"""Formats without column types."""

_BATCH_ROWS = 8_192
_BLOCK_BYTES = 8 << 20
_BROKEN = (pa.ArrowException, EOFError, zlib.error, UnicodeDecodeError)


def read_schema(where: str, file: DataFile, roles: Sequence[Role]) -> pa.Schema:
    """Return the columns of a file from its header, footer or first rows; a name may be repeated.

    Args:
        where: path of the dataset in the request.
        file: the file.
        roles: the requested columns; those of a CSV file that a role requires to be text are text, even `123`.

    Raises:
        InvalidRequestError: the file does not exist, may not be read, or is not of its format.
        CannotStartError: the file's server could not be reached.
    """
    with _translate_errors(where, file):
        match file.format:
            case "jsonl":
                return jsonl_schema(where, file, [role.column for role in roles])
            case "csv" | "tsv":
                return _csv_schema(file, roles)
            case binary:
                with _OPEN[binary](file) as (schema, _):
                    return schema


def read_batches(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file in batches of at most 8,192.

    Args:
        where: path of the dataset in the request.
        file: the file.
        types: the columns to read; text formats are parsed as these types, the others have types of their own.

    Raises:
        NotIntegersError: a column of a text file is int64 in `types`, but has other values.
        InvalidRequestError: the file is broken; names the row if it is known.
        CannotStartError: the file's server could not be reached.
    """
    with _translate_errors(where, file):
        for batch in _whole_batches(where, file, types):
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)


def _whole_batches(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    match file.format:
        case "jsonl":
            return jsonl_batches(where, file, types)
        case "csv" | "tsv":
            return _csv_batches(file, types)
        case _:
            return _binary_batches(file, list(types))


@contextmanager
def _translate_errors(where: str, file: DataFile) -> Iterator[None]:
    with translate_store_errors(where, file.name, local=file.store.local):
        try:
            yield
        except _BROKEN as error:
            message = f"{file.name} cannot be read as {file.format}: {_explain(error)}"
            raise InvalidRequestError.at(f"{where}.path", message) from error


def _explain(error: BaseException) -> str:
    """Return the reader's message with rows counted as everywhere else: from 1, without the header."""
    return re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 1}", first_line(error))


@contextmanager
def _csv_reader(file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatchReader]:
    """Read the columns of `types`; all of them, with the types of their first rows, if there are none."""
    from pyarrow import csv

    # With one thread, which is as fast, errors name the row.
    reading = csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    parsing = csv.ParseOptions(delimiter="\t" if file.format == "tsv" else ",", newlines_in_values=True)
    converting = csv.ConvertOptions(column_types=dict(types), include_columns=list(types))
    with file.open_bytes() as source, csv.open_csv(source, reading, parsing, converting) as reader:
        yield reader


def _csv_schema(file: DataFile, roles: Sequence[Role]) -> pa.Schema:
    texts = {role.column for role in roles if role.key not in ("label", LENGTH)}
    with _csv_reader(file, {}) as reader:
        return pa.schema([(one.name, pa.string() if one.name in texts else one.type) for one in reader.schema])


def _csv_batches(file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    try:
        with _csv_reader(file, types) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        if pa.int64() in types.values():
            raise NotIntegersError from error
        raise


_Opened = tuple[pa.Schema, Callable[[list[str]], Iterable[pa.RecordBatch]]]
"""The columns of an open file, and what reads some of them."""


@contextmanager
def _open_parquet(file: DataFile) -> Iterator[_Opened]:
    from pyarrow.parquet import ParquetFile

    with file.open_bytes() as source, ParquetFile(source) as parquet:
        yield parquet.schema_arrow, lambda columns: parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns)


@contextmanager
def _open_arrow(file: DataFile) -> Iterator[_Opened]:
    """Open an Arrow file, or an Arrow stream as `save_to_disk` writes it, by its first bytes."""
    with ExitStack() as stack:
        # A memory map, because a single batch may be as large as the file.
        source: Any = stack.enter_context(pa.memory_map(file.path) if file.store.local else file.open_bytes())
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        reader: Any = stack.enter_context(pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source))
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        yield reader.schema, lambda columns: batches


_OPEN: Mapping[Format, Callable[[DataFile], AbstractContextManager[_Opened]]] = {
    "parquet": _open_parquet,
    "arrow": _open_arrow,
}


def _binary_batches(file: DataFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with _OPEN[file.format](file) as (_, read):
        for batch in read(columns):
            asked = pick_columns(batch, columns)
            # Arrow reads wrong offsets and invalid UTF-8 without an error; only a full validation finds them.
            asked.validate(full=True)
            yield asked
