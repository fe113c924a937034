"""A train dataset that no node reads as a whole: each reads the files of its share, the first one all their facts.

The files are divided so that nodes have about the same number of rows. What has to be known of all rows (duplicates,
labels, which rows share a text) follows from the facts of the files (`shard_facts`); when a node reads the texts, it
compares them with the facts.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedstep.data.cells import KIND_NAMES, TYPES, FractionsError, as_integers, row_lists, to_canonical
from embedstep.data.columns import Source, column_kinds, unnamed_columns
from embedstep.data.duplicates import count_duplicates
from embedstep.data.facts import ColumnKind, DatasetFacts
from embedstep.data.fingerprint import RowsDigest
from embedstep.data.formats import read_batches, read_schema
from embedstep.data.ids import number_texts
from embedstep.data.labels import LabelSummary
from embedstep.data.reading import no_length
from embedstep.data.roles import LENGTH, LENGTH_PATH, Role, RowNeeds, list_roles, repeated_columns
from embedstep.data.shard_facts import BYTES, HASH, KEY, VALUE, Shard, read_shard
from embedstep.data.sources import DataFile, find_files
from embedstep.data.writing import arrow_file
from embedstep.errors import InvalidRequestError, Problem, collect_problems
from embedstep.request.datasets import Dataset
from embedstep.runtime.digests import sha256_json
from embedstep.runtime.text import count

_READERS = 16
"""Files whose facts are found at once: each waits for a server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardColumn:
    """A column of the files, and what becomes of it.

    Attributes:
        role: its role.
        kind: what the training reads: `integer` also where the files hold numbers that are integers.
    """

    role: Role
    kind: ColumnKind

    def cell(self, found: pa.Array[Any]) -> pa.Array[Any]:
        """Return cells of a file in the type that the training reads."""
        return as_integers(found) if self.kind == "integer" else to_canonical(found, self.kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardedRows:
    """Files of a train dataset with their facts.

    Attributes:
        where: path of the dataset in the request.
        shards: the files.
        columns: the columns that are read, in the order of a loss's inputs.
    """

    where: str
    shards: tuple[Shard, ...]
    columns: tuple[ShardColumn, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(shard.rows for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """Digest of the rows: those of the columns of each file, in order."""
        columns = [
            [one.role.name, one.kind, [shard.columns[one.role.column].digest for shard in self.shards]]
            for one in self.columns
        ]
        return sha256_json(["embedstep.shards/1", [shard.rows for shard in self.shards], columns])

    @property
    def output(self) -> dict[str, ColumnKind]:
        """Kind of each column that the training reads, by its role."""
        kinds = {one.role.name: one.kind for one in self.columns}
        return {**kinds, "label": "numbers"} if len(self._labels) > 1 else kinds

    @property
    def _labels(self) -> list[ShardColumn]:
        return [one for one in self.columns if one.role.key == "label"]

    def shares(self, nodes: int) -> list[ShardedRows]:
        """Return the files of each node: the largest first, each to the node with the fewest rows so far."""
        rows, taken = [0] * nodes, [list[int]() for _ in range(nodes)]
        for number in sorted(range(len(self.shards)), key=lambda number: -self.shards[number].rows):
            node = rows.index(min(rows))
            rows[node] += self.shards[number].rows
            taken[node].append(number)
        return [replace(self, shards=tuple(self.shards[number] for number in sorted(each))) for each in taken]

    def text_ids(self, inputs: Sequence[str]) -> NDArray[np.int32]:
        """Return the id of each text, shape (columns, rows); see `ids.text_ids`."""
        return number_texts(self._arrays(inputs, HASH).reshape(-1)).reshape(len(inputs), self.rows)

    def text_bytes(self, inputs: Sequence[str]) -> NDArray[np.int32]:
        """Return the total bytes of each row's texts in UTF-8, shape (rows,)."""
        return np.asarray(self._arrays(inputs, BYTES, np.int32).sum(axis=0, dtype=np.int32))

    def integers(self, role: str) -> NDArray[np.int64]:
        """Return a column of integers, shape (rows,)."""
        return self.numbers(role).astype(np.int64)

    def numbers(self, role: str) -> NDArray[Any]:
        """Return a column of numbers, shape (rows,)."""
        found: NDArray[Any] = self._arrays([role], VALUE, np.float64 if self.output[role] == "number" else np.int64)[0]
        return found

    def keys(self) -> dict[str, NDArray[np.uint64]]:
        """Return the hashes of texts by which duplicates are found, by role, shape (rows,) each."""
        roles = [one.role.name for one in self.columns if one.kind == "text"]
        return dict(zip(roles, self._arrays(roles, KEY), strict=True))

    def _arrays(self, roles: Sequence[str], what: str, dtype: type = np.uint64) -> NDArray[Any]:
        """Return what the facts say of the columns of some roles, shape (roles, rows)."""
        columns = {one.role.name: one.role.column for one in self.columns}
        names = [f"{columns[role]}.{what}" for role in roles]
        found: NDArray[Any] = np.empty((len(roles), self.rows), dtype)
        ends = np.cumsum([shard.rows for shard in self.shards])

        def read(shard: Shard, end: int) -> None:
            for name, array in zip(names, found, strict=True):
                shard.read_into(self.where, {name: array[end - shard.rows : end]})

        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(read, self.shards, ends.tolist()))
        return found

    def write(self, target: Path) -> None:
        """Read the texts, and write them as an Arrow stream for the training.

        Args:
            target: the file.

        Raises:
            InvalidRequestError: the rows of a file are others than those of its facts.
            CannotStartError: the disk is full, or a server could not be reached.
        """
        schema = pa.schema([(name, TYPES[kind]) for name, kind in self.output.items()])
        with arrow_file(target, schema) as write:
            for shard in self.shards:
                for columns in self._read(shard):
                    write(pa.RecordBatch.from_arrays(columns, schema=schema))

    def _read(self, shard: Shard) -> Iterator[list[pa.Array[Any]]]:
        """Yield the columns of all roles batch by batch, and compare the file with its facts in the end."""
        kinds = {one.role.column: kind for one in self.columns if (kind := shard.columns[one.role.column].kind)}
        digests = {name: RowsDigest({name: kind}) for name, kind in kinds.items()}
        for batch in read_batches(self.where, shard.file, {name: TYPES[kind] for name, kind in kinds.items()}):
            try:
                cells = {name: to_canonical(batch.column(name), kind) for name, kind in kinds.items()}
                columns = self._by_role(cells)
            except (pa.ArrowException, FractionsError):
                break  # these are other values, and so is the digest
            for name, digest in digests.items():
                digest.update(pa.record_batch([cells[name]], [name]))
            yield columns
        if changed := [name for name in kinds if digests[name].hexdigest() != shard.columns[name].digest]:
            message = f"column {changed[0]!r} of {shard.file.name} has changed since its facts were written"
            raise InvalidRequestError.at(f"{self.where}.path", f"{message}; {_write_again([shard.file.name])}")

    def _by_role(self, cells: Mapping[str, pa.Array[Any]]) -> list[pa.Array[Any]]:
        found = {one.role.name: one.cell(cells[one.role.column]) for one in self.columns}
        if len(labels := self._labels) > 1:
            found["label"] = row_lists([one.cell(cells[one.role.column]) for one in labels])
        return list(found.values())


def find_shards(name: str, dataset: Dataset, needs: RowNeeds, lengths: str | None) -> ShardedRows:
    """Return the files of a train dataset with their facts; no text is read.

    Args:
        name: name of the dataset.
        dataset: its section of the request.
        needs: what is asked of its rows.
        lengths: column with the length of each row.

    Raises:
        InvalidRequestError: with every problem of the files, their facts and their columns.
        CannotStartError: a server could not be reached.
    """
    where = f"data.train.{name}"
    roles = needs.apply(list_roles(dataset.columns))
    if lengths is not None:
        roles = (*roles, Role(name=LENGTH, key=LENGTH, column=lengths))
    problems = repeated_columns(where, roles)
    files: tuple[DataFile, ...] = ()
    with collect_problems(problems):
        files = find_files(where, dataset.path or (), None)
    problems += _not_parquet(where, files)
    if problems:
        raise InvalidRequestError(problems)
    again = _write_again(dataset.path or ())
    with ThreadPoolExecutor(_READERS) as pool:
        found = [*pool.map(partial(read_shard, where), files)]
    if lacking := [file for file, shard in zip(files, found, strict=True) if shard is None]:
        raise InvalidRequestError.at(f"{where}.path", f"{_count(lacking, files)}; {again}")
    shards = tuple(shard for shard in found if shard is not None and shard.rows)
    if not shards:
        raise InvalidRequestError.at(f"{where}.path", "the files hold no rows")
    return ShardedRows(where=where, shards=shards, columns=_columns(where, shards, roles, again))


def facts_of(name: str, rows: ShardedRows, nodes: int) -> DatasetFacts:
    """Return what is known of a train dataset that each node reads its share of.

    Args:
        name: name of the dataset.
        rows: the dataset.
        nodes: number of nodes.

    Raises:
        InvalidRequestError: there are fewer files than nodes, or the facts of a file are broken.
        CannotStartError: a server could not be reached.
    """
    if len(rows.shards) < nodes:
        files = f"{len(rows.shards)} file{'s have' if len(rows.shards) > 1 else ' has'} rows"
        message = f"{files}, and {nodes} nodes each read files of their own; write at least {nodes} files of equal size"
        raise InvalidRequestError.at(f"{rows.where}.path", message)
    if LENGTH in rows.output and (fault := no_length(rows.numbers(LENGTH))):
        raise InvalidRequestError.at(LENGTH_PATH, f"{rows.where}: {fault}")
    keys, labels = rows.keys(), LabelSummary()
    if (kind := rows.output.get("label")) in ("integer", "number"):
        labels.update(pa.array(rows.numbers("label"), TYPES[kind]))
    sources = [_source(rows.where, shard, ()) for shard in rows.shards]
    return DatasetFacts(
        split="train",
        name=name,
        rows=rows.rows,
        node_rows=tuple(share.rows for share in rows.shares(nodes)),
        columns={role: kind for role, kind in rows.output.items() if role != LENGTH},
        has_lengths=LENGTH in rows.output,
        dropped_columns=unnamed_columns(sources, [one.role for one in rows.columns]),
        duplicate_rows=count_duplicates(keys),
        label_values=labels.values,
        label_range=labels.range,
        fingerprint=rows.fingerprint,
        text_hashes=keys,
        shards=rows,
    )


def _columns(where: str, shards: Sequence[Shard], roles: Sequence[Role], again: str) -> tuple[ShardColumn, ...]:
    """Return the columns of all roles.

    Args:
        where: path of the dataset in the request.
        shards: its files.
        roles: the requested columns.
        again: how to write facts of all files.

    Raises:
        InvalidRequestError: with each that is missing, has another kind than its role needs, or has an empty cell.
    """
    if fields := [role for role in roles if _is_field(role.column, shards[0])]:
        message = "is a field of an object, and data.read: per_node needs a column of its own for it"
        raise InvalidRequestError(Problem(role.path(where), f"{role.column!r} {message}") for role in fields)
    kinds = column_kinds(where, [_source(where, shard, roles) for shard in shards], roles)
    problems = [
        problem for role in roles for problem in _column_problems(where, shards, role, kinds[role.column], again)
    ]
    if problems:
        raise InvalidRequestError(problems)
    return tuple(_column(shards, role, kinds[role.column]) for role in roles)


def _column(shards: Sequence[Shard], role: Role, kind: ColumnKind) -> ShardColumn:
    is_whole = all(shard.columns[role.column].is_whole for shard in shards)
    is_integer = kind == "number" and is_whole and (role.integers or role.key == LENGTH)
    return ShardColumn(role=role, kind="integer" if is_integer else kind)


def _is_field(column: str, shard: Shard) -> bool:
    return column not in shard.columns and column.partition(".")[0] in shard.columns


def _column_problems(
    where: str, shards: Sequence[Shard], role: Role, kind: ColumnKind, again: str
) -> Iterator[Problem]:
    path, column = role.path(where), role.column
    if kind in ("texts", "numbers"):
        message = f"column {column!r} holds {KIND_NAMES[kind]}; data.read: per_node needs a text or a number in a cell"
        yield Problem(path, message)
        return
    if without := [shard for shard in shards if not shard.columns[column].digest and not shard.columns[column].empty]:
        yield Problem(path, f"the facts of {without[0].file.name} leave out column {column!r}; {again}")
    if gaps := [shard for shard in shards if shard.columns[column].empty]:
        cells = sum(shard.columns[column].empty for shard in gaps)
        empty = f"column {column!r} has {count(cells, 'empty cell')}, the first of them in "
        message = "with data.read: per_node, such rows have to be left out of the files"
        yield Problem(path, f"{empty}{gaps[0].file.name}; {message}")


def _source(where: str, shard: Shard, roles: Sequence[Role]) -> Source:
    """Return a file with the columns that its facts say it has."""
    if any(one.column in shard.columns and shard.columns[one.column].kind is None for one in roles):
        return Source(file=shard.file, schema=read_schema(where, shard.file, ()))  # whose type the message names
    types = [(name, TYPES[one.kind] if one.kind else pa.null()) for name, one in shard.columns.items()]
    return Source(file=shard.file, schema=pa.schema(types))


def _not_parquet(where: str, files: Sequence[DataFile]) -> list[Problem]:
    if not files or files[0].format == "parquet":
        return []
    return [Problem(f"{where}.path", f"{files[0].name} is {files[0].format}; data.read: per_node needs Parquet files")]


def _count(lacking: Sequence[DataFile], files: Sequence[DataFile]) -> str:
    if len(files) == 1:
        return f"{files[0].name} has no facts, or those of another content"
    some = f"{len(lacking):,} of {len(files):,} files have" if len(lacking) > 1 else "a file has"
    return f"{some} no facts, or those of another content: {lacking[0].name}"


def _write_again(paths: Sequence[str]) -> str:
    return f"write them: embedstep facts {shlex.join(paths)}"
