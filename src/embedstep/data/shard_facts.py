"""Facts of one Parquet file with many rows, in a small file with them: row count, hashes and lengths of its texts.

The machine that has written a file reads it once more for its facts (`write_facts`). From then on nobody has to read
all texts in one place: a plan needs the facts alone, and each node reads the texts of its own files.

The facts are a Parquet file of the same name in the folder `_facts` next to it, with a row for each of its rows: of a
column `a` of texts the hash `a.hash`, the hash `a.key` by which duplicates are found, and the bytes `a.bytes`; of a
column of numbers the number `a.value`. What is known of the whole file is JSON under the key `embedstep` of its footer.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

import json
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from xxhash import xxh3_128_hexdigest

from embedstep.data.cells import TYPES, FractionsError, as_integers, is_incomplete, kind_of, to_canonical
from embedstep.data.duplicates import hash_texts, normalise_texts
from embedstep.data.facts import ColumnKind
from embedstep.data.fingerprint import RowsDigest
from embedstep.data.formats import read_batches, read_notes, read_schema
from embedstep.data.sources import FACTS, DataFile, find_files
from embedstep.data.stores import translate_store_errors
from embedstep.errors import CannotStartError, InvalidRequestError, Problem, first_line, suggest
from embedstep.runtime.devices import usable_cores

HASH, KEY, BYTES, VALUE = "hash", "key", "bytes", "value"
_FORMAT = "embedstep.shard/1"
_RECORD = "embedstep"
_ARRAYS: Mapping[ColumnKind, Mapping[str, pa.DataType]] = {
    "text": {HASH: pa.uint64(), KEY: pa.uint64(), BYTES: pa.int32()},
    "integer": {VALUE: pa.int64()},
    "number": {VALUE: pa.float64()},
}
_GROUP_ROWS = 2**18
"""Rows of the facts that are in memory at once."""
_FOOTER_END = 8
"""Last bytes of a Parquet file: the length of its footer, and a mark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnFacts:
    """What is known of one column of a file.

    Attributes:
        kind: what it holds; None for values that no role allows.
        empty: number of its empty cells.
        digest: SHA-256 of its cells; empty for a column without arrays, as of lists, or one that nobody asked for.
        is_whole: whether all its numbers are integers.
    """

    kind: ColumnKind | None
    empty: int = 0
    digest: str = ""
    is_whole: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One file of a dataset, and its facts.

    Attributes:
        file: the file with the rows.
        facts: the file with their facts.
        rows: number of rows.
        columns: what is known of its columns, by name.
    """

    file: DataFile
    facts: DataFile
    rows: int
    columns: Mapping[str, ColumnFacts]

    def read_into(self, where: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Read columns of the facts, such as `question.hash`.

        Args:
            where: path of the dataset in the request.
            arrays: what to fill by the names of columns, shape (rows,) each.

        Raises:
            InvalidRequestError: the file of facts is broken.
            CannotStartError: its server could not be reached.
        """
        start = 0
        for batch in read_batches(where, self.facts, dict.fromkeys(arrays, pa.null())):
            for name, array in arrays.items():
                array[start : start + batch.num_rows] = batch.column(name).to_numpy(zero_copy_only=False)
            start += batch.num_rows


def facts_file(file: DataFile) -> DataFile:
    """Return the place of the facts of a file."""
    folder, slash, name = file.path.rpartition("/")
    return replace(file, path=f"{folder}{slash}{FACTS}/{name}")


def write_facts(where: str, file: DataFile, names: Sequence[str] = ()) -> Shard:
    """Read a Parquet file and write its facts.

    Args:
        where: path of the files in messages.
        file: the file.
        names: columns to write facts of; empty for all.

    Raises:
        InvalidRequestError: the file cannot be read, or lacks a column.
        CannotStartError: the facts cannot be written, or a server could not be reached.
    """
    before = _identity(where, file)
    kinds = _kinds(where, file, names)
    columns = [_Column(name, kinds[name]) for name in names or kinds if kinds[name] in _ARRAYS]
    if not columns:
        raise InvalidRequestError.at(where, f"{file.name} has no column of texts or numbers to write facts of")
    schema, facts = pa.schema([field for column in columns for field in column.fields]), facts_file(file)
    with tempfile.TemporaryDirectory(prefix="embedstep-") as folder:
        written = Path(folder) / "facts.parquet"
        with pq.ParquetWriter(written, schema, use_dictionary=False, write_statistics=False) as writer:
            rows = _write_arrays(where, file, columns, writer, schema)
            known = {
                name: ColumnFacts(kind=_known(kind), empty=rows if kind == "empty" else 0)
                for name, kind in kinds.items()
            }
            known |= {column.name: column.facts() for column in columns}
            record = {"format": _FORMAT, "file": before, "rows": rows}
            record["columns"] = {name: asdict(item) for name, item in known.items()}
            writer.add_key_value_metadata({_RECORD: json.dumps(record)})
        if _identity(where, file) != before:
            raise InvalidRequestError.at(where, f"{file.name} has changed while it was read; write its facts again")
        try:
            file.store.place(written, facts.path)
        except Exception as error:  # those of stores have types of packages that may not be installed
            raise CannotStartError(f"{facts.name} cannot be written: {first_line(error)}") from error
    return Shard(file=file, facts=facts, rows=rows, columns=known)


def write_all_facts(paths: Sequence[str], names: Sequence[str]) -> Iterator[Shard | Problem]:
    """Write the facts of many files, in as many processes as there are cores, and yield what is found as it comes.

    Args:
        paths: files, folders, globs or URLs.
        names: columns to write facts of; empty for all.

    Yields:
        each file with its facts, or why it has none.

    Raises:
        InvalidRequestError: a path names no Parquet file.
        CannotStartError: facts cannot be written, or a server could not be reached.
    """
    try:
        files = find_files("", paths, None)
    except InvalidRequestError as error:
        raise InvalidRequestError(replace(problem, path="") for problem in error.problems) from None
    if others := [file for file in files if file.format != "parquet"]:
        raise InvalidRequestError.at(others[0].name, f"is {others[0].format}; facts are written of Parquet files")
    processes = min(usable_cores(), len(files))
    if processes == 1:
        yield from (_facts_or_problem(names, file) for file in files)
        return
    # Threads of the readers would not survive a fork.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(partial(_facts_or_problem, names), files)


def _facts_or_problem(names: Sequence[str], file: DataFile) -> Shard | Problem:
    try:
        return write_facts(file.name, file, names)
    except InvalidRequestError as error:
        return replace(error.problems[0], path="")  # each message names the file


def read_shard(where: str, file: DataFile) -> Shard | None:
    """Return what the facts of a file say of it; None where there are none, or they are of another content.

    Args:
        where: path of the dataset in the request.
        file: the file.

    Raises:
        InvalidRequestError: the file or its facts cannot be read.
        CannotStartError: a server could not be reached.
    """
    facts = facts_file(file)
    with translate_store_errors(where, facts.name, local=facts.store.local):
        if not facts.store.is_file(facts.path):
            return None
    try:
        record = json.loads(read_notes(where, facts)[_RECORD.encode()])
    except (KeyError, ValueError):
        return None
    if record.get("format") != _FORMAT or record["file"] != _identity(where, file):
        return None
    columns = {name: ColumnFacts(**item) for name, item in record["columns"].items()}
    return Shard(file=file, facts=facts, rows=record["rows"], columns=columns)


def _identity(where: str, file: DataFile) -> dict[str, Any]:
    """Return the size of a Parquet file and the digest of its footer.

    A footer holds place, size and range of each part of each column, so that hardly any change leaves it as it is. It
    moves with the file, as no time and no tag of a store does.
    """
    with translate_store_errors(where, file.name, local=file.store.local), file.open_bytes() as opened:
        size = opened.seek(0, 2)
        opened.seek(max(size - _FOOTER_END, 0))
        end = opened.read(_FOOTER_END)
        length = struct.unpack("<I", end[:4])[0] if len(end) == _FOOTER_END and end[4:] == b"PAR1" else -1
        if not 0 <= length <= size - _FOOTER_END:
            raise InvalidRequestError.at(where, f"{file.name} cannot be read as parquet: it has no footer")
        opened.seek(size - _FOOTER_END - length)
        return {"bytes": size, "footer": xxh3_128_hexdigest(opened.read(length))}


def _kinds(where: str, file: DataFile, names: Sequence[str]) -> dict[str, Any]:
    schema = read_schema(where, file, ())
    if lacking := [name for name in names if name not in schema.names]:
        shown = f"its columns are {', '.join(schema.names)}{suggest(lacking[0], schema.names)}"
        raise InvalidRequestError.at(where, f"{file.name} has no column {lacking[0]!r}; {shown}")
    if repeated := [name for name, count in Counter(schema.names).items() if count > 1]:
        raise InvalidRequestError.at(where, f"{file.name} has several columns {repeated[0]!r}; rename all but one")
    return {field.name: kind_of(field.type) for field in schema}


def _known(kind: Any) -> ColumnKind | None:
    return kind if kind in TYPES else None


class _Column:
    """The facts of one column, collected batch by batch."""

    def __init__(self, name: str, kind: ColumnKind) -> None:
        self.name = name
        self._kind = kind
        self._digest = RowsDigest({name: kind})
        self._empty = 0
        self._is_whole = True
        self._fits = True

    @property
    def fields(self) -> list[tuple[str, pa.DataType]]:
        """Names and types of its arrays."""
        return [(f"{self.name}.{what}", dtype) for what, dtype in _ARRAYS[self._kind].items()]

    def add(self, found: pa.Array[Any]) -> list[Any]:
        """Add cells, and return their arrays."""
        cell: Any = self._canonical(found)
        empty = is_incomplete(cell, self._kind)
        self._empty += empty.true_count
        cell = cell.fill_null(pa.scalar("" if self._kind == "text" else 0, TYPES[self._kind]))
        self._digest.update(pa.record_batch([cell], [self.name]))
        if self._kind == "text":
            texts = cell.cast(pa.binary()).to_pylist()
            return [hash_texts(texts), hash_texts(normalise_texts(cell)), pc.binary_length(cell)]
        if self._kind == "number" and self._is_whole:
            self._is_whole = _are_integers(cell.filter(pc.invert(empty)))
        return [cell]

    def _canonical(self, found: pa.Array[Any]) -> pa.Array[Any]:
        try:
            return to_canonical(found, self._kind)
        except pa.ArrowInvalid:  # such as an unsigned number of 64 bits, as other systems make ids
            self._fits = False
            return to_canonical(pa.nulls(len(found)), self._kind)

    def facts(self) -> ColumnFacts:
        """Return what is known of all cells so far."""
        if not self._fits:
            return ColumnFacts(kind=None)
        return ColumnFacts(kind=self._kind, empty=self._empty, digest=self._digest.hexdigest(), is_whole=self._is_whole)


def _are_integers(numbers: pa.Array[Any]) -> bool:
    try:
        as_integers(numbers)
    except FractionsError:
        return False
    return True


def _write_arrays(
    where: str, file: DataFile, columns: Sequence[_Column], writer: pq.ParquetWriter, schema: pa.Schema
) -> int:
    """Write the arrays of all columns, and return the number of rows."""
    rows = written = 0
    waiting: list[pa.RecordBatch] = []
    for batch in read_batches(where, file, {column.name: pa.null() for column in columns}):
        arrays = [array for column in columns for array in column.add(batch.column(column.name))]
        waiting.append(pa.RecordBatch.from_arrays([pa.array(array) for array in arrays], schema=schema))
        rows += batch.num_rows
        if rows - written >= _GROUP_ROWS:
            writer.write_table(pa.Table.from_batches(waiting, schema))
            written, waiting = rows, []
    writer.write_table(pa.Table.from_batches(waiting, schema))
    return rows
