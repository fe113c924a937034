"""Read one dataset of a request: check its rows, return facts about them, and optionally write them to a file.

Commands that read no data import this module, too, so pyarrow is imported only when there are files to read.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.data.facts import ColumnKind, DatasetFacts, Split
from embedstep.data.roles import (
    ANY_ROWS,
    GROUP,
    LENGTH,
    LENGTH_PATH,
    READ,
    SLICE,
    Role,
    RowNeeds,
    common_needs,
    list_roles,
    repeated_columns,
)
from embedstep.data.row_functions import RowMaker, row_maker
from embedstep.data.sources import DataFile, find_files
from embedstep.errors import InvalidRequestError, Problem, collect_problems

if TYPE_CHECKING:
    import pyarrow as pa

    from embedstep.data.columns import Source
    from embedstep.data.held_out import Division
    from embedstep.data.rows import RowCounts, Selection
    from embedstep.request.datasets import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one dataset of the request gets of the rows of a source: all, or one side of its `hold_out`.

    Attributes:
        split: `train` for the rows that `hold_out` leaves; `eval` for those that it holds out.
        name: name in the request.
        write_to: Arrow IPC stream file for the kept rows, with columns named by role.
        lengths: column with the length of each row, kept as `length`.
        slices: column with the slice of each row, kept as `slice`.
        needs: what is asked of the rows.
        records_anchors: hash the anchors in any case, because they are recorded.
    """

    split: Split
    name: str
    write_to: Path | None = None
    lengths: str | None = None
    slices: str | None = None
    needs: RowNeeds = ANY_ROWS
    records_anchors: bool = False

    def columns(self, output: Mapping[str, ColumnKind]) -> dict[str, ColumnKind]:
        """Return the columns that this part keeps of those that are read."""
        without = {GROUP: True, LENGTH: self.lengths is None, SLICE: self.slices is None}
        return {name: kind for name, kind in output.items() if not without.get(name)}

    def recorded(self, columns: Mapping[str, ColumnKind]) -> dict[str, ColumnKind]:
        """Return the column whose hashes are recorded, if any are."""
        return {name: kind for name, kind in columns.items() if name == "anchor" and self.records_anchors}


def scan(
    split: Split,
    name: str,
    dataset: "Dataset",
    *,
    drop_incomplete_rows: bool,
    write_to: Path | None = None,
    lengths: str | None = None,
    slices: str | None = None,
    needs: RowNeeds = ANY_ROWS,
) -> DatasetFacts:
    """Read a dataset once, batch by batch, and return facts about its rows.

    Args:
        split: `train`, `eval` or `test`.
        name: name in the request.
        dataset: the section of the request; its source is a path.
        drop_incomplete_rows: drop and count rows with an empty cell; otherwise they are refused.
        write_to: Arrow IPC stream file for the kept rows, with columns named by role.
        lengths: column with the length of each row, kept as `length`.
        slices: column with the slice of each row, kept as `slice`.
        needs: what is asked of the rows.

    Raises:
        InvalidRequestError: with all problems of the files, their columns and their rows.
        CannotStartError: `write_to` cannot be written, or a server with files could not be reached.
        ValueError: the dataset's source is the hub; it has to be fetched first.
    """
    part = Part(split=split, name=name, write_to=write_to, lengths=lengths, slices=slices, needs=needs)
    return scan_parts([part], dataset, drop_incomplete_rows=drop_incomplete_rows)[0]


def scan_parts(
    parts: Sequence[Part], dataset: "Dataset", *, drop_incomplete_rows: bool, compares: bool = True
) -> list[DatasetFacts]:
    """Read a source once and return the facts of each of its parts; see `scan`.

    Args:
        parts: both sides of the dataset's `hold_out`, that for training first; or one dataset.
        dataset: the section of the request for the first part.
        drop_incomplete_rows: drop and count rows with an empty cell; otherwise they are refused.
        compares: compare texts, to count duplicates; otherwise there are no hashes of texts, and no duplicates.
    """
    from embedstep.data.cells import FractionsError
    from embedstep.data.rows import Selection

    if dataset.path is None or dataset.is_fetched:
        raise ValueError("a dataset that is no files has to be fetched before it is scanned")
    where = f"data.{parts[0].split}.{parts[0].name}"
    others = [(LENGTH, part.lengths) for part in parts] + [(SLICE, part.slices) for part in parts]
    roles = (
        *common_needs([part.needs for part in parts]).apply(list_roles(dataset.columns)),
        *(Role(name=key, key=key, column=column) for key, column in others if column is not None),
    )
    problems = repeated_columns(where, roles)
    decides = None
    if dataset.hold_out is not None:
        from embedstep.data.held_out import deciding_role

        with collect_problems(problems):
            decides = deciding_role(where, dataset.hold_out, roles)
            roles = roles if decides in roles else (*roles, decides)
    files: tuple[DataFile, ...] = ()
    with collect_problems(problems):
        files = tuple(replace(file, origin=dataset.origin) for file in find_files(where, dataset.path, dataset.split))
    if problems:
        raise InvalidRequestError(problems)
    maker = row_maker(where, dataset)
    sources, kinds = _find_columns(where, files, roles, maker, dataset)
    if decides is not None and kinds[decides.column] == "texts":
        message = f"column {decides.column!r} holds lists of texts; name one with a single value in each row"
        raise InvalidRequestError.at(f"{where}.hold_out.by", message)
    selection = Selection(
        where=where, sources=sources, roles=roles, kinds=kinds, limit=dataset.limit, drop=drop_incomplete_rows,
        compares=compares,
    )  # fmt: skip
    try:
        return _typed_pass(parts, selection, dataset, decides)
    except FractionsError:
        return _typed_pass(parts, selection.with_fractions(), dataset, decides)


def _division(dataset: "Dataset", decides: Role | None) -> "Division | None":
    if dataset.hold_out is None or decides is None:
        return None
    from embedstep.data.held_out import Division

    return Division(dataset.hold_out, decides.name)


def _find_columns(
    where: str, files: tuple[DataFile, ...], roles: tuple[Role, ...], maker: RowMaker | None, dataset: "Dataset"
) -> tuple[list["Source"], dict[str, ColumnKind]]:
    """Return the files with their columns, and the kind of each requested column.

    Raises:
        InvalidRequestError: with the problems of all files and columns.
    """
    from embedstep.data.columns import Source, column_kinds, made_source
    from embedstep.data.formats import as_written, read_schema
    from embedstep.data.nested import with_fields

    read = roles if maker is None else [Role(name=name, key=READ, column=name) for name in maker.kind.reads]
    sources: list[Source] = []
    kinds: dict[str, ColumnKind] = {}
    problems: list[Problem] = []
    for found in files:
        with collect_problems(problems):
            columns = [role.column for role in read]
            file = as_written(where, found, dataset.csv, columns, sheet=dataset.sheet)
            schema = with_fields(read_schema(where, file, read), columns)
            sources.append(made_source(where, file, schema, maker) if maker else Source(file=file, schema=schema))
    if sources:
        with collect_problems(problems):
            kinds = column_kinds(where, sources, roles)
    if problems:
        raise InvalidRequestError(problems)
    return sources, kinds


def _typed_pass(
    parts: Sequence[Part], selection: "Selection", dataset: "Dataset", decides: Role | None
) -> list[DatasetFacts]:
    from embedstep.data.cells import NotIntegersError

    try:
        return _pass(parts, selection, _division(dataset, decides))
    except NotIntegersError:
        # A column that began with integers has other numbers too; the next pass reads all such columns as numbers.
        return _pass(parts, selection.with_numbers(), _division(dataset, decides))


def _pass(parts: Sequence[Part], selection: "Selection", division: "Division | None") -> list[DatasetFacts]:
    import pyarrow.compute as pc

    from embedstep.data.rows import RowCounts, kept_batches

    counts = RowCounts()
    with ExitStack() as files, ThreadPoolExecutor(1) as pool:
        found = [_PartRows(part, selection, files, pool) for part in parts]
        for batch in kept_batches(selection, counts):
            held_out = division.divide(batch) if division else None
            for rows in found:
                is_train = rows.part.split == "train"
                rows.add(batch if held_out is None else batch.filter(pc.invert(held_out) if is_train else held_out))
            if LENGTH in selection.output and (fault := no_length(batch.column(LENGTH).to_numpy(zero_copy_only=False))):
                counts.problems.append(Problem(LENGTH_PATH, f"{selection.where}: {fault}"))
                break
        if not counts.kept and not counts.problems:
            counts.problems.append(_no_rows(selection, counts.dropped))
        if division and not counts.problems and (problem := division.problem(selection.where)):
            counts.problems.append(problem)
        if counts.problems:
            raise InvalidRequestError(counts.problems)
        for rows in found:
            rows.wait()
    return [rows.facts(counts, division) for rows in found]


class _PartRows:
    """What is known of the rows of one part so far; writes them, if that is asked for."""

    def __init__(self, part: Part, selection: "Selection", files: ExitStack, pool: Executor) -> None:
        import pyarrow as pa

        from embedstep.data.duplicates import TextHashes
        from embedstep.data.fingerprint import RowsDigest
        from embedstep.data.formats import TEXT_FORMATS
        from embedstep.data.labels import LabelSummary
        from embedstep.data.placeholders import Placeholders
        from embedstep.data.writing import arrow_file

        self.part = part
        self._selection = selection
        self._columns = part.columns(selection.output)
        self._schema = pa.schema([selection.schema.field(name) for name in self._columns])
        self._rows = 0
        hashed = self._columns if selection.compares else part.recorded(self._columns)
        self._labels, self._numbers = LabelSummary(), TextHashes(hashed)
        is_typed = any(source.file.format not in TEXT_FORMATS for source in selection.sources)
        self._placeholders = Placeholders({} if is_typed else self._columns)
        self._digest = RowsDigest({name: kind for name, kind in self._columns.items() if name != SLICE})
        opened = arrow_file(part.write_to, self._schema) if part.write_to else nullcontext(lambda batch: None)
        self._write: Callable[[pa.RecordBatch], None] = files.enter_context(opened)
        self._pool = pool
        self._recorded: Future[None] | None = None

    def add(self, read: "pa.RecordBatch") -> None:
        """Add rows of this part."""
        batch = read.select(list(self._columns))
        self.wait()
        if self._rows:
            # Neither needs the interpreter, so a thread does it while texts are hashed.
            self._recorded = self._pool.submit(self._record, batch)
        else:
            self._record(batch)
        self._rows += batch.num_rows
        self._numbers.update(batch)
        self._placeholders.update(batch)
        if "label" in self._columns:
            self._labels.update(batch.column("label"))

    def _record(self, batch: "pa.RecordBatch") -> None:
        self._digest.update(batch)
        self._write(batch)

    def wait(self) -> None:
        """Wait until all rows that were added are in the digest and in the file.

        Raises:
            CannotStartError: the disk is full.
        """
        if self._recorded is not None:
            self._recorded.result()

    def facts(self, counts: "RowCounts", division: "Division | None") -> DatasetFacts:
        """Return the facts. Rows that are dropped or held out count for the rows that are left of all."""
        from embedstep.data.columns import unnamed_columns
        from embedstep.data.duplicates import count_duplicates

        part, sources, text_hashes = self.part, self._selection.sources, self._numbers.by_column()
        is_rest = division is None or part.split == "train"
        return DatasetFacts(
            split=part.split,
            name=part.name,
            rows=self._rows,
            columns={name: kind for name, kind in self._columns.items() if name != LENGTH},
            has_lengths=LENGTH in self._columns,
            dropped_columns=unnamed_columns(sources, self._selection.roles),
            dropped_rows=counts.dropped if is_rest else 0,
            duplicate_rows=count_duplicates(text_hashes) if self._selection.compares else 0,
            placeholders=self._placeholders.counts,
            label_values=self._labels.values,
            label_range=self._labels.range,
            fingerprint=self._digest.hexdigest(),
            unsaid_formats={one.file.name: one.file.unsaid for one in sources if one.file.unsaid and is_rest},
            rows_read=counts.read if self._selection.makes_rows and is_rest else None,
            short_rows=counts.short if is_rest else 0,
            held_out_rows=division.held_out if division and is_rest else 0,
            path=str(part.write_to) if part.write_to else None,
            text_hashes=text_hashes,
        )


def no_length(numbers: Any) -> str:
    """Return the problem of the first number that is no length, or nothing; numbers of shape (rows,)."""
    import numpy as np

    wrong = numbers[(numbers < 0) | (numbers != np.floor(numbers))]
    return f"{wrong[0]:g} is not a length; a length is a number of tokens, 0 or more" if len(wrong) else ""


def _no_rows(selection: "Selection", dropped: int) -> Problem:
    first, *others = [source.file.name for source in selection.sources]
    empty = f"none of {len(others) + 1:,} files, such as {first}, holds a row" if others else f"{first} holds no row"
    message = f"all {dropped:,} rows are incomplete, so no row is left" if dropped else empty
    return Problem(f"{selection.where}.path", message)
