"""Write the result of a query to a file that is read as any other, and check its columns first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.types as pt

from embedstep.data.cells import kind_of
from embedstep.data.writing import arrow_file, partial_file
from embedstep.errors import InvalidRequestError, Problem

BATCH_ROWS = 8_192


def check_columns(where: str, schema: pa.Schema, types: Sequence[str], casts: Mapping[str, str]) -> None:
    """Refuse a result with two columns of one name, or with values that are neither texts nor numbers.

    Args:
        where: path of the query in the request.
        schema: columns of the result.
        types: name of each column's type where the query runs.
        casts: type to write in a cast there, for `text`, `number` and `integer`.

    Raises:
        InvalidRequestError: with every such column.
    """
    problems = [
        Problem(where, f"gives {count} columns named {name!r}; rename all but one: {_quoted(name)} as other")
        for name, count in Counter(schema.names).items()
        if count > 1
    ]
    for name, dtype, shown in zip(schema.names, schema.types, types, strict=True):
        if kind_of(dtype) is None or pt.is_decimal(dtype):
            wanted = "number" if shown == "numeric" else "text"
            if pt.is_decimal(dtype):
                wanted = "number" if dtype.scale else "integer"
            cast = f"cast({_quoted(name)} as {casts[wanted]})"
            message = f"gives the column {name!r} of the type {shown}, and rows hold texts and numbers"
            problems.append(Problem(where, f"{message}; write {cast} as {_quoted(name)}, or leave it out"))
    if problems:
        raise InvalidRequestError(problems)


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return name if name.isidentifier() else f'"{doubled}"'


def write_result(where: str, reader: pa.RecordBatchReader, target: Path) -> None:
    """Write all rows of a result to an Arrow stream file, one batch at a time.

    Args:
        where: path of the query in the request.
        reader: the result.
        target: the file.

    Raises:
        InvalidRequestError: there is no row.
        CannotStartError: the disk is full, or the folder may not be written.
    """
    schema = _plain(reader.schema)
    with arrow_file(target, schema) as write:
        rows = 0
        for batch in _filled(reader):
            rows += batch.num_rows
            write(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        if not rows:
            raise InvalidRequestError.at(where, "gives no row")


def write_parquet(reader: pa.RecordBatchReader, target: Path) -> None:
    """Write all rows of a result to a Parquet file, one batch at a time.

    Args:
        reader: the result.
        target: the file; missing parent folders are created.

    Raises:
        CannotStartError: the disk is full, or the folder may not be written.
    """
    from pyarrow.parquet import ParquetWriter

    schema, partial = _plain(reader.schema), target.with_name(f"{target.name}.partial")
    with partial_file(partial, target):
        with ParquetWriter(partial, schema) as writer:
            for batch in _filled(reader):
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        partial.replace(target)


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return the columns without metadata: servers describe their types there, which files do not."""
    return pa.schema([pa.field(name, dtype) for name, dtype in zip(schema.names, schema.types, strict=True)])


def _filled(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        yield from (batch for batch in reader if batch.num_rows)
    except OSError as error:  # of a database, and not of the disk that is written to
        raise pa.ArrowInvalid(str(error)) from error
