"""Read delimited files: their format, their columns and their rows.

pyarrow reads the rows; it gets plain CSV in UTF-8, which `delimited` has checked or made.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import pyarrow as pa

from embedstep.data.cells import NotIntegersError
from embedstep.data.delimited import (
    CsvFormat,
    MalformedCellError,
    cell_text,
    malformed_row,
    plain_blocks,
    split_cells,
)
from embedstep.data.encodings import UTF8, marked_encoding, to_utf8, unmarked_encoding
from embedstep.data.roles import LENGTH, Role
from embedstep.data.sniffing import UncertainFormatError, column_names, sniff, unsaid
from embedstep.data.sources import DataFile
from embedstep.data.streams import read_blocks
from embedstep.errors import InvalidRequestError
from embedstep.request.sources import Csv

_BLOCK_BYTES = 8 << 20
_SAMPLE_BYTES = 256 << 10
_PLAIN = {"csv": CsvFormat(), "tsv": CsvFormat(delimiter="\t"), "text": CsvFormat()}


def find_format(where: str, file: DataFile, given: Csv, columns: Sequence[str] | None) -> DataFile:
    """Return a delimited or plain text file with how it is written, and what the request does not say of it.

    Args:
        where: path of the dataset in the request.
        file: the file.
        given: what the request says.
        columns: the columns that are read; None if it has to be found which there are.

    Raises:
        InvalidRequestError: its encoding or its format is not certain; names what to write.
    """
    with file.open_bytes() as source:
        head = source.read(_SAMPLE_BYTES)
    encoding = given.encoding or marked_encoding(head)
    if encoding == UTF8 and given.encoding is None and (unmarked := unmarked_encoding(head)):
        message = f"{file.name} seems to be UTF-16 without a byte order mark; write csv: {{encoding: {unmarked}}}"
        raise InvalidRequestError.at(f"{where}.path", message)
    plain = replace(_PLAIN[file.format], encoding=encoding)
    if file.format == "text":
        return replace(file, csv=plain, unsaid=unsaid(plain, plain, given))
    is_cut = len(head) == _SAMPLE_BYTES
    sample = b"".join(to_utf8([head], encoding, is_cut=is_cut))
    try:
        written = sniff(sample, columns, plain, given, is_cut=is_cut)
    except UncertainFormatError as error:
        shown = " or ".join(unsaid(one, replace(plain, delimiter=""), given) for one in error.formats)
        message = f"{file.name} can be read in several ways; write {shown}"
        raise InvalidRequestError.at(f"{where}.path", message) from error
    return replace(file, csv=written, unsaid=unsaid(written, plain, given))


def csv_schema(where: str, file: DataFile, roles: Sequence[Role]) -> pa.Schema:
    """Return the columns of a file; those that a role requires to be text are text, even `123`.

    Raises:
        InvalidRequestError: a cell does not follow the file's format.
        pyarrow.ArrowInvalid: the rows have different numbers of cells.
    """
    texts = {role.column for role in roles if role.key not in ("label", LENGTH)}
    first = next(_tables(where, file, {}))
    return pa.schema([(one.name, pa.string() if one.name in texts else one.type) for one in first.schema])


def csv_batches(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Yield the columns of `types`, a batch for each 8 MiB of the file.

    Raises:
        NotIntegersError: a column is int64 in `types`, but has other values.
        InvalidRequestError: a cell does not follow the file's format.
        pyarrow.ArrowInvalid: the rows have different numbers of cells, or a cell is not of its type.
    """
    try:
        for table in _tables(where, file, types):
            yield from table.to_batches()
    except pa.ArrowInvalid as error:
        if pa.int64() in types.values():
            raise NotIntegersError from error
        raise


def _tables(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Read the columns of `types`, or all of them, with the types of their first rows, if there are none."""
    written = _written(file)
    try:
        with file.open_bytes() as source:
            names: list[str] | None = None
            before = 0
            for records in _parts(plain_blocks(_utf8_blocks(source, written), written)):
                if names is None and not written.header:
                    names = _numbered_names(records, written)
                table = _table(records, written.delimiter, types, names, before)
                names = names or _header(records, written.delimiter)
                before += table.num_rows
                yield table
    except MalformedCellError as error:
        raise InvalidRequestError.at(f"{where}.path", _explain_malformed(file, error)) from error


def _parts(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Join blocks of whole records to parts of at most 8 MiB, or of one block; there is one at least, perhaps empty."""
    part: list[bytes] = []
    size = 0
    for block in blocks:
        if part and size + len(block) > _BLOCK_BYTES:
            yield b"".join(part)
            part, size = [], 0
        part.append(block)
        size += len(block)
    yield b"".join(part)


def _table(
    records: bytes, delimiter: str, types: Mapping[str, pa.DataType], names: list[str] | None, before: int
) -> pa.Table:
    """Parse records of plain CSV.

    Args:
        records: the records.
        delimiter: what is between two cells.
        types: the columns to read; all if there are none.
        names: names of the columns, or None if they are in the first record.
        before: number of rows of the file before these.
    """
    from pyarrow import csv

    # With one thread, which is as fast, errors name the row. The bytes are copied to memory of Arrow's: with a Python
    # file that decodes or rewrites as the source, which Arrow reads in a thread of its own, one process in ten was
    # aborted at its end on a busy machine.
    with pa.BufferOutputStream() as copy:
        copy.write(records)
        source: Any = pa.BufferReader(copy.getvalue())
    reading = csv.ReadOptions(use_threads=False, block_size=len(records) + 1, column_names=names)
    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    converting = csv.ConvertOptions(column_types=dict(types), include_columns=list(types))
    try:
        return csv.read_csv(source, reading, parsing, converting)
    except pa.ArrowInvalid as error:
        if names is None:
            raise
        # pyarrow counts from the first of these records; as in the first part, the header is to be counted, too.
        message = re.sub(r"Row #(\d+)", lambda found: f"Row #{int(found[1]) + before + 1}", str(error))
        raise pa.ArrowInvalid(message) from error


def _header(records: bytes, delimiter: str) -> list[str]:
    plain = CsvFormat(delimiter=delimiter)
    first = next(split_cells(records, plain))
    return [cell_text(cell, plain).decode() for cell in first]


def _numbered_names(records: bytes, written: CsvFormat) -> list[str] | None:
    plain = CsvFormat(delimiter=written.delimiter, header=False)
    first = next(split_cells(records, plain), None)
    return None if first is None else column_names(first, plain)


def _written(file: DataFile) -> CsvFormat:
    return file.csv or _PLAIN[file.format]


def _utf8_blocks(source: BinaryIO, written: CsvFormat) -> Iterator[bytes]:
    return to_utf8(read_blocks(source), written.encoding)


def _explain_malformed(file: DataFile, error: MalformedCellError) -> str:
    written = _written(file)
    with file.open_bytes() as source:
        row = malformed_row(_utf8_blocks(source, written), written)
    place = f"row {row:,}" if row else "the header"
    message = f"{file.name} cannot be read as {file.format}: {place} has {error.reason}"
    if not written.is_plain:
        return message
    backslash = r'write csv: {escape: "\\"} if a backslash stands before quotes in a cell'
    return f'{message}; {backslash}, or csv: {{quote: ""}} if quotes are text'
