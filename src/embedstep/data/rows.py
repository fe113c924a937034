"""Read the rows of a dataset: yield the complete ones, and count the incomplete ones with their first row numbers.

One batch is in memory at a time. The kept rows must not depend on the size of batches, so a limit takes effect at the
row that reaches it; rows behind that are neither read nor checked.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedstep.data.cells import TYPES, as_integers, has_empty_text, is_incomplete, row_lists, to_canonical
from embedstep.data.columns import Source, reading_types, source_batches
from embedstep.data.facts import ColumnKind
from embedstep.data.lists import list_lengths, nth_texts, one_by_one, without_nulls
from embedstep.data.roles import Role
from embedstep.errors import InvalidRequestError, Problem, collect_problems
from embedstep.request.columns import ListOfNegatives, ListOfPositives

_SHOWN_ROWS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The files, columns and rows to read.

    Attributes:
        where: path of the dataset in the request, such as `data.train.docs`.
        sources: the files, in order.
        roles: the requested columns, in the order of the output.
        kinds: kind of each requested column by its name in the source.
        limit: maximum number of rows to keep, or None for all.
        drop: drop incomplete rows instead of refusing them.
        compares: hash the texts of the rows, to compare them.
    """

    where: str
    sources: Sequence[Source]
    roles: Sequence[Role]
    kinds: Mapping[str, ColumnKind]
    limit: int | None
    drop: bool
    compares: bool = True

    @property
    def output(self) -> dict[str, ColumnKind]:
        """Kind of each kept column by its role name, in the order of the output."""
        labels = sum(role.key == "label" for role in self.roles)
        kinds = {role.name: self._kind(role) for role in self.roles}
        return {**kinds, "label": "numbers"} if labels > 1 else kinds

    def _kind(self, role: Role) -> ColumnKind:
        kind = self.cell_kinds[role.column] if role.element is None else "text"
        return "integer" if role.integers and kind == "number" else kind

    @property
    def cell_kinds(self) -> dict[str, ColumnKind]:
        """Kind of each requested column by its name in the source, where each text of a list has a row."""
        kinds = dict(self.kinds)
        return kinds if self.positives is None else {**kinds, self.positives.list: "text"}

    @property
    def positives(self) -> ListOfPositives | None:
        """The column of which each text gets a row."""
        return next((role.list for role in self.roles if isinstance(role.list, ListOfPositives)), None)

    @property
    def negatives(self) -> ListOfNegatives | None:
        """The column of which each text gets a column."""
        return next((role.list for role in self.roles if isinstance(role.list, ListOfNegatives)), None)

    @property
    def optional(self) -> frozenset[str]:
        """Columns with lists of texts that may be empty; rows with an empty one are dropped where that is asked for."""
        found = (role.column for role in self.roles if role.optional and self.kinds[role.column] == "texts")
        return frozenset(() if self.drop else found)

    @property
    def makes_rows(self) -> bool:
        """Whether the rows are made of those of the files."""
        return self.sources[0].maker is not None or self.positives is not None

    def with_fractions(self) -> Selection:
        """Return the plan with labels as the numbers that they are."""
        return replace(self, roles=[replace(role, integers=False) for role in self.roles])

    def with_numbers(self) -> Selection:
        """Return the plan with its integer columns read as numbers."""
        kinds: dict[str, ColumnKind] = {
            column: "number" if kind == "integer" else kind for column, kind in self.kinds.items()
        }
        return replace(self, kinds=kinds, sources=[source.with_numbers() for source in self.sources])

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the kept batches."""
        return pa.schema([(name, TYPES[kind]) for name, kind in self.output.items()])


@dataclass(kw_only=True, slots=True)
class RowCounts:
    """Rows that were read so far.

    Attributes:
        read: number of rows of the files.
        kept: number of complete rows.
        dropped: number of incomplete rows.
        short: number of rows with fewer negatives in their list than asked for.
        problems: problems of the rows and files.
    """

    read: int = 0
    kept: int = 0
    dropped: int = 0
    short: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class _Gaps:
    """Rows of one file with a fault: their number, and the first row numbers, from 1."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, faulty: pa.BooleanArray, before: int, parents: NDArray[np.int64] | None) -> None:
        """Add rows of a batch; `parents` are the rows of the file that they are made of, if those are others."""
        if not faulty.true_count:
            return
        found = pc.indices_nonzero(faulty).to_numpy()
        found = found if parents is None else np.unique(parents[found])
        self.first += [before + 1 + int(row) for row in found[: _SHOWN_ROWS - len(self.first)]]
        self.count += len(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """The faults of a batch's rows, as masks.

    Attributes:
        empty: empty cells of each column.
        short: rows with fewer negatives in their list than asked for; None without such a list.
        complete: rows to keep.
    """

    empty: Mapping[str, pa.BooleanArray]
    short: pa.BooleanArray | None
    complete: pa.BooleanArray


def kept_batches(selection: Selection, counts: RowCounts) -> Iterator[pa.RecordBatch]:
    """Yield the complete rows of all files, with columns named by role, and update `counts`.

    Errors of a file, and incomplete rows without `selection.drop`, are added to the problems of `counts`.

    Raises:
        NotIntegersError: a text file's labels are no integers after all.
        FractionsError: labels that are read as integers have fractions.
        CannotStartError: a server with files could not be reached.
    """
    for source in selection.sources:
        gaps, short = {column: _Gaps() for column in selection.kinds}, _Gaps()
        with collect_problems(counts.problems):
            yield from _kept_of_file(selection, counts, source, gaps, short)
        if not selection.drop:
            counts.problems.extend(_incomplete_rows(selection, source, gaps))
        counts.short += short.count
        counts.problems.extend(_short_lists(selection, source, short))
        if selection.limit is not None and counts.kept >= selection.limit:
            return


def _kept_of_file(
    selection: Selection, counts: RowCounts, source: Source, gaps: Mapping[str, _Gaps], short: _Gaps
) -> Iterator[pa.RecordBatch]:
    before = source.file.rows_before
    for read, batch in source_batches(selection.where, source, reading_types(source, selection.kinds)):
        cells, parents = _with_row_for_each(selection, _cells(selection, source, batch))
        judged = _judge(selection, cells)
        complete = judged.complete
        taken = _taken(complete, None if selection.limit is None else selection.limit - counts.kept)
        for column, mask in judged.empty.items():
            gaps[column].add(mask[:taken], before, parents)
        if judged.short is not None:
            short.add(judged.short[:taken], before, parents)
        rows = complete[:taken].true_count
        kept = pa.RecordBatch.from_pydict(cells).slice(0, taken)
        counts.read += read
        counts.kept += rows
        counts.dropped += taken - rows
        before += batch.num_rows
        if rows:
            yield _by_role(selection, kept if rows == taken else kept.filter(complete[:taken]))
        if selection.limit is not None and counts.kept >= selection.limit:
            return


def _cells(selection: Selection, source: Source, batch: pa.RecordBatch) -> dict[str, pa.Array[Any]]:
    cells = {}
    for column, kind in selection.kinds.items():
        try:
            cells[column] = to_canonical(batch.column(column), kind)
        except pa.ArrowInvalid as error:
            message = f"column {column!r} of {source.file.name} has a value that cannot be used: {error}"
            raise InvalidRequestError.at(f"{selection.where}.path", message) from error
        if column in selection.optional:
            cells[column] = without_nulls(cells[column])
    return cells


def _with_row_for_each(
    selection: Selection, cells: dict[str, pa.Array[Any]]
) -> tuple[dict[str, pa.Array[Any]], NDArray[np.int64] | None]:
    """Return the cells with a row for each positive of a list, and the row of the batch that each is made of."""
    if selection.positives is None:
        return cells, None
    texts, parents = one_by_one(cells[selection.positives.list])
    return {**{column: cell.take(parents) for column, cell in cells.items()}, selection.positives.list: texts}, parents


def _judge(selection: Selection, cells: Mapping[str, pa.Array[Any]]) -> _Judged:
    empty = {
        column: has_empty_text(array)
        if column in selection.optional
        else is_incomplete(array, selection.cell_kinds[column])
        for column, array in cells.items()
    }
    negatives, short = selection.negatives, None
    if negatives is not None:
        blank = empty[negatives.list]
        short = pa.array(list_lengths(cells[negatives.list]) < negatives.take)
        if negatives.otherwise == "repeat" or (negatives.otherwise == "refuse" and selection.drop):
            short = pc.and_not(short, blank)
        else:
            empty[negatives.list] = pc.and_not(blank, short)
    faults = list(empty.values())
    if negatives is not None and short is not None and negatives.otherwise != "repeat":
        faults.append(short)
    return _Judged(empty=empty, short=short, complete=pc.invert(reduce(pc.or_, faults)))


def _taken(complete: pa.BooleanArray, room: int | None) -> int:
    """Return the number of rows to use of a batch if the limit allows `room` more complete rows."""
    if room is None or complete.true_count < room:
        return len(complete)
    return int(pc.indices_nonzero(complete)[room - 1].as_py()) + 1


def _by_role(selection: Selection, cells: pa.RecordBatch) -> pa.RecordBatch:
    columns = {role.name: _column(selection, role, cells) for role in selection.roles}
    labels = [cells.column(role.column) for role in selection.roles if role.key == "label"]
    if len(labels) > 1:
        columns["label"] = row_lists(labels)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=selection.schema)


def _column(selection: Selection, role: Role, cells: pa.RecordBatch) -> pa.Array[Any]:
    cell = cells.column(role.column)
    if role.element is not None:
        return nth_texts(cell, role.element)
    return as_integers(cell) if role.integers and selection.kinds[role.column] == "number" else cell


def _incomplete_rows(selection: Selection, source: Source, gaps: Mapping[str, _Gaps]) -> list[Problem]:
    return [
        Problem(
            role.path(selection.where),
            f"column {role.column!r} of {source.file.name} is empty in {_rows(gaps[role.column])}; "
            "fill the cells, or drop such rows by data.drop_incomplete_rows: true",
        )
        for role in selection.roles
        if gaps[role.column].count and not role.element
    ]


def _short_lists(selection: Selection, source: Source, short: _Gaps) -> list[Problem]:
    negatives = selection.negatives
    if negatives is None or negatives.otherwise != "refuse" or not short.count:
        return []
    return [
        Problem(
            f"{selection.where}.columns.negative",
            f"column {negatives.list!r} of {source.file.name} has {negatives.too_few} in {_rows(short)}; "
            "take fewer, or write otherwise: drop, or otherwise: repeat",
        )
    ]


def _rows(gaps: _Gaps) -> str:
    listed = ", ".join(str(row) for row in gaps.first)
    if gaps.count == 1:
        return f"1 row (row {listed})"
    return f"{gaps.count:,} rows ({'rows' if gaps.count == len(gaps.first) else 'first'} {listed})"
