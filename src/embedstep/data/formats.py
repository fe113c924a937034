"""Read files of all formats as batches of bounded size, with errors that name the file."""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import pyarrow as pa

from embedstep.data.csvfiles import csv_batches, csv_schema, find_format
from embedstep.data.jsonlines import find_document, jsonl_batches, jsonl_columns, jsonl_schema
from embedstep.data.nested import leaf_names, pick_columns
from embedstep.data.roles import Role
from embedstep.data.sources import DataFile, Format
from embedstep.data.stores import translate_store_errors
from embedstep.data.textlines import text_batches, text_schema
from embedstep.data.workbooks import find_sheet, sheet_batches, sheet_schema
from embedstep.errors import InvalidRequestError, first_line
from embedstep.request.sources import Csv

TEXT_FORMATS = frozenset({"jsonl", "csv", "tsv", "text", "workbook"})
"""Formats without column types."""

_BATCH_ROWS = 8_192
_BUFFER_BYTES = 2**20
_BROKEN = (pa.ArrowException, EOFError, zlib.error, UnicodeDecodeError)


def as_written(
    where: str, file: DataFile, csv: Csv | None, columns: Sequence[str] | None, *, sheet: str | None = None
) -> DataFile:
    """Return the file with how it is written: delimiter, quotes and encoding, JSON lines or other JSON, the sheet.

    Args:
        where: path of the dataset in the request.
        file: the file.
        csv: the dataset's options for delimited files.
        columns: the columns that are read; None if it has to be found which there are.
        sheet: the dataset's sheet of a workbook.

    Raises:
        InvalidRequestError: it cannot be read, or how it is written is not certain; names what to write.
        CannotStartError: the file's server could not be reached.
    """
    if csv is not None and csv.delimiter is not None and file.format == "text":
        file = replace(file, format="csv")
    _refuse_options(where, file, csv)
    if sheet is not None and file.format != "workbook":
        raise InvalidRequestError.at(f"{where}.sheet", f"is for workbooks; {file.name} is {file.format}")
    with _translate_errors(where, file):
        match file.format:
            case "csv" | "tsv" | "text":
                return find_format(where, file, csv or Csv(), columns)
            case "jsonl":
                return find_document(file, columns or ())
            case "workbook":
                return find_sheet(where, file, sheet)
            case _:
                return file


def _refuse_options(where: str, file: DataFile, given: Csv | None) -> None:
    if given is None or file.format in ("csv", "tsv"):
        return
    if file.format != "text":
        raise InvalidRequestError.at(f"{where}.csv", f"is for CSV, TSV and text files; {file.name} is {file.format}")
    if others := sorted(given.model_fields_set - {"encoding"}):
        message = f"{file.name} is plain text, one text on each line; name the delimiter, or remove {', '.join(others)}"
        raise InvalidRequestError.at(f"{where}.csv", message)


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
                return csv_schema(where, file, roles)
            case "text":
                return text_schema()
            case "workbook":
                return sheet_schema(where, file, roles)
            case binary:
                with _OPEN[binary](file) as (schema, _):
                    return schema


def column_names(where: str, file: DataFile) -> tuple[str, ...]:
    """Return the columns of a file as `read_schema` takes them: an object gives the names of its fields.

    Args:
        where: path of the dataset in the request.
        file: the file, as it is written.

    Raises:
        InvalidRequestError: the file does not exist, may not be read, or is not of its format.
        CannotStartError: the file's server could not be reached.
    """
    with _translate_errors(where, file):
        if file.format == "jsonl":
            return jsonl_columns(where, file)
    return leaf_names(read_schema(where, file, ()))


def count_rows(where: str, file: DataFile) -> int | None:
    """Return the number of rows where a file says it; None where it has to be read for that."""
    if file.format != "parquet":
        return None
    from pyarrow.parquet import ParquetFile

    with _translate_errors(where, file), file.open_bytes() as source, ParquetFile(source) as parquet:
        return int(parquet.metadata.num_rows)


def read_notes(where: str, file: DataFile) -> Mapping[bytes, bytes]:
    """Return what the footer of a Parquet file says by names that are its writer's own.

    Args:
        where: path of the dataset in the request.
        file: the file.

    Raises:
        InvalidRequestError: the file cannot be read.
        CannotStartError: its server could not be reached.
    """
    from pyarrow.parquet import ParquetFile

    with _translate_errors(where, file), file.open_bytes() as source, ParquetFile(source) as parquet:
        return parquet.metadata.metadata or {}


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
            return csv_batches(where, file, types)
        case "text":
            return text_batches(file)
        case "workbook":
            return sheet_batches(where, file, types)
        case _:
            return _binary_batches(file, list(types))


@contextmanager
def _translate_errors(where: str, file: DataFile) -> Iterator[None]:
    with translate_store_errors(where, file.name, local=file.store.local):
        try:
            yield
        except _BROKEN as error:
            message = f"{file.name} cannot be read as {file.format}: {_explain(error, file)}"
            raise InvalidRequestError.at(f"{where}.path", message) from error


def _explain(error: BaseException, file: DataFile) -> str:
    """Return the reader's message with rows counted as everywhere else: from 1, without the header."""
    message = re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 1}", first_line(error))
    if file.csv is not None and (isinstance(error, UnicodeDecodeError) or "invalid UTF8" in message):
        return f"{message}; if it has another encoding, write that, such as csv: {{encoding: cp1252}}"
    return message


_Opened = tuple[pa.Schema, Callable[[list[str]], Iterable[pa.RecordBatch]]]
"""The columns of an open file, and what reads some of them."""


@contextmanager
def _open_parquet(file: DataFile) -> Iterator[_Opened]:
    from pyarrow.parquet import ParquetFile

    # A store is asked for whole groups of rows at once. On a disk that only costs the memory to hold them.
    how: dict[str, Any] = {"pre_buffer": False, "buffer_size": _BUFFER_BYTES} if file.store.local else {}
    with file.open_bytes() as source, ParquetFile(source, **how) as parquet:
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
        # Decoding needs no interpreter: a thread does it while the batch before is used.
        yield from read_ahead(_validated(batch, columns) for batch in read(columns))


def _validated(batch: pa.RecordBatch, columns: list[str]) -> pa.RecordBatch:
    asked = pick_columns(batch, columns)
    # Arrow reads wrong offsets and invalid UTF-8 without an error; only a full validation finds them.
    asked.validate(full=True)
    return asked


def read_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches; from the third on, each is made in a thread while the one before is used."""
    yield from islice(batches, 1)
    # A request may have hundreds of small files, for which starting a thread takes longer than reading.
    if (batch := next(batches, None)) is None:
        return
    with ThreadPoolExecutor(1) as pool:
        while batch is not None:
            following = pool.submit(next, batches, None)
            yield batch
            batch = following.result()
