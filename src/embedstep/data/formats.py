"""One file, whatever its format, as a schema and as batches of bounded size.

Each format has its own way to name types, to be broken and to say so. All of that ends here: what comes out is batches
of the asked columns, or a refusal that names the file.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pyarrow as pa

from embedstep.data.jsonlines import jsonl_batches, jsonl_schema
from embedstep.data.roles import LENGTH, Role
from embedstep.data.sources import DataFile
from embedstep.data.stores import first_line, reaching
from embedstep.data.table import NotIntegersError, TableSchema
from embedstep.errors import InvalidRequestError, Problem

TEXT_FORMATS = frozenset({"jsonl", "csv", "tsv"})
"""Formats that do not state the types of their columns."""

_BATCH_ROWS = 8_192
_BLOCK_BYTES = 8 << 20
_BROKEN = (pa.ArrowException, EOFError, zlib.error, UnicodeDecodeError)


def read_schema(where: str, file: DataFile, roles: Sequence[Role]) -> TableSchema:
    """Return the columns of `file` from its header, footer or first rows.

    Args:
        where: the dataset's place in the request.
        file: the file to look at.
        roles: the asked columns; the text columns of a CSV file count as text, whatever they look like.

    Raises:
        InvalidRequestError: the file is not there, may not be read, or is not of its format.
        CannotStartError: the server that holds it could not be reached.
    """
    with _refusing(where, file):
        match file.format:
            case "jsonl":
                return jsonl_schema(where, file, [role.column for role in roles])
            case "csv" | "tsv":
                return _csv_schema(file, roles)
            case "parquet":
                return _parquet_schema(file)
            case "arrow":
                with _arrow_reader(file) as reader:
                    return _table_schema(reader.schema)


def read_batches(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `file` in order, at most 8,192 in a batch, with the columns of `types` alone.

    Args:
        where: the dataset's place in the request.
        file: the file to read.
        types: the asked columns; only the text formats read them with these types, the others have their own.

    Raises:
        NotIntegersError: a column is int64 in `types` and holds other values in a text file.
        InvalidRequestError: the file is broken, with the row where that is known.
        CannotStartError: the server that holds it could not be reached.
    """
    with _refusing(where, file):
        for batch in _whole_batches(where, file, types):
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield batch.slice(start, _BATCH_ROWS)


def _whole_batches(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    match file.format:
        case "jsonl":
            return jsonl_batches(where, file, types)
        case "csv" | "tsv":
            return _csv_batches(file, types)
        case "parquet":
            return _parquet_batches(file, list(types))
        case "arrow":
            return _arrow_batches(file, list(types))


@contextmanager
def _refusing(where: str, file: DataFile) -> Iterator[None]:
    with reaching(where, file.name, local=file.store.local):
        try:
            yield
        except _BROKEN as error:
            message = f"{file.name} cannot be read as {file.format}: {_explained(error)}"
            raise InvalidRequestError([Problem(f"{where}.path", message)]) from error


def _explained(error: BaseException) -> str:
    """Return the reader's own words with rows counted as everywhere else: from 1, without the header."""
    return re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 1}", first_line(error))


def _table_schema(schema: pa.Schema) -> TableSchema:
    return TableSchema(names=tuple(schema.names), types=dict(zip(schema.names, schema.types, strict=True)))


@contextmanager
def _csv_reader(file: DataFile, types: Mapping[str, pa.DataType] | None) -> Iterator[pa.RecordBatchReader]:
    from pyarrow import csv

    # One thread is as fast here, and only then does an error name its row.
    reading = csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    parsing = csv.ParseOptions(delimiter="\t" if file.format == "tsv" else ",", newlines_in_values=True)
    converting = csv.ConvertOptions(
        column_types=dict(types) if types else None, include_columns=list(types) if types else None
    )
    with file.opened() as source, csv.open_csv(source, reading, parsing, converting) as reader:
        yield reader


def _csv_schema(file: DataFile, roles: Sequence[Role]) -> TableSchema:
    with _csv_reader(file, None) as reader:
        schema = _table_schema(reader.schema)
    texts = {
        role.column: pa.string() for role in roles if role.key not in ("label", LENGTH) and role.column in schema.types
    }
    return TableSchema(names=schema.names, types={**schema.types, **texts})


def _csv_batches(file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    try:
        with _csv_reader(file, types) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        if pa.int64() in types.values():
            raise NotIntegersError from error
        raise


def _parquet_schema(file: DataFile) -> TableSchema:
    from pyarrow.parquet import ParquetFile

    with file.opened() as source, ParquetFile(source) as parquet:
        return _table_schema(parquet.schema_arrow)


def _parquet_batches(file: DataFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    from pyarrow.parquet import ParquetFile

    with file.opened() as source, ParquetFile(source) as parquet:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            asked = batch.select(columns)
            asked.validate(full=True)
            yield asked


@contextmanager
def _arrow_reader(file: DataFile) -> Iterator[Any]:
    """Open the file form, or the stream form that `save_to_disk` writes, by its first bytes."""
    with ExitStack() as stack:
        # A single batch may be as large as the file, and a map keeps it out of memory.
        source: Any = stack.enter_context(pa.memory_map(file.path) if file.store.local else file.opened())
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        yield stack.enter_context(pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source))


def _arrow_batches(file: DataFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with _arrow_reader(file) as reader:
        by_number = isinstance(reader, pa.ipc.RecordBatchFileReader)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if by_number else reader
        for batch in batches:
            asked = batch.select(columns)
            asked.validate(full=True)
            yield asked
