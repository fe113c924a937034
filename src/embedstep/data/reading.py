"""Read one dataset of a request: check its rows, return facts about them, and optionally write them to a file.

Commands that read no data import this module, too, so pyarrow is imported only when there are files to read.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.data.facts import ColumnKind, DatasetFacts, Split
from embedstep.data.roles import (
    ANY_ROWS,
    LENGTH,
    LENGTH_PATH,
    READ,
    SLICE,
    Role,
    RowNeeds,
    list_roles,
    repeated_columns,
)
from embedstep.data.row_functions import RowMaker, row_maker
from embedstep.data.sources import DataFile, find_files
from embedstep.errors import InvalidRequestError, Problem, collect_problems

if TYPE_CHECKING:
    from embedstep.data.columns import Source
    from embedstep.data.rows import Selection
    from embedstep.request.datasets import Dataset


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
    from embedstep.data.cells import FractionsError
    from embedstep.data.rows import Selection

    if dataset.path is None:
        raise ValueError("a dataset of the hub has to be fetched before it is scanned")
    where = f"data.{split}.{name}"
    others = [(LENGTH, lengths), (SLICE, slices)]
    roles = (
        *needs.apply(list_roles(dataset.columns)),
        *(Role(name=key, key=key, column=column) for key, column in others if column is not None),
    )
    problems = repeated_columns(where, roles)
    files: tuple[DataFile, ...] = ()
    with collect_problems(problems):
        files = find_files(where, dataset.path, dataset.split)
    if problems:
        raise InvalidRequestError(problems)
    maker = row_maker(where, dataset)
    sources, kinds = _find_columns(where, files, roles, maker)
    selection = Selection(
        where=where, sources=sources, roles=roles, kinds=kinds, limit=dataset.limit, drop=drop_incomplete_rows
    )
    try:
        return _typed_pass(split, name, selection, write_to)
    except FractionsError:
        return _typed_pass(split, name, selection.with_fractions(), write_to)


def _find_columns(
    where: str, files: tuple[DataFile, ...], roles: tuple[Role, ...], maker: RowMaker | None
) -> tuple[list["Source"], dict[str, ColumnKind]]:
    """Return the files with their columns, and the kind of each requested column.

    Raises:
        InvalidRequestError: with the problems of all files and columns.
    """
    from embedstep.data.columns import Source, column_kinds, made_source
    from embedstep.data.formats import read_schema
    from embedstep.data.nested import with_fields

    read = roles if maker is None else [Role(name=name, key=READ, column=name) for name in maker.kind.reads]
    sources: list[Source] = []
    kinds: dict[str, ColumnKind] = {}
    problems: list[Problem] = []
    for file in files:
        with collect_problems(problems):
            schema = with_fields(read_schema(where, file, read), [role.column for role in read])
            sources.append(made_source(where, file, schema, maker) if maker else Source(file=file, schema=schema))
    if sources:
        with collect_problems(problems):
            kinds = column_kinds(where, sources, roles)
    if problems:
        raise InvalidRequestError(problems)
    return sources, kinds


def _typed_pass(split: Split, name: str, selection: "Selection", write_to: Path | None) -> DatasetFacts:
    from embedstep.data.cells import NotIntegersError

    try:
        return _pass(split, name, selection, write_to)
    except NotIntegersError:
        # A column that began with integers has other numbers too; the next pass reads all such columns as numbers.
        return _pass(split, name, selection.with_numbers(), write_to)


def _pass(split: Split, name: str, selection: "Selection", write_to: Path | None) -> DatasetFacts:
    from embedstep.data.columns import unnamed_columns
    from embedstep.data.duplicates import TextHashes, count_duplicates
    from embedstep.data.fingerprint import RowsDigest
    from embedstep.data.labels import LabelSummary
    from embedstep.data.rows import RowCounts, kept_batches
    from embedstep.data.writing import arrow_file

    counts, labels, numbers = RowCounts(), LabelSummary(), TextHashes(selection.output)
    digest = RowsDigest({name: kind for name, kind in selection.output.items() if name != SLICE})
    with arrow_file(write_to, selection.schema) if write_to else nullcontext(lambda batch: None) as write:
        for batch in kept_batches(selection, counts):
            digest.update(batch)
            numbers.update(batch)
            if "label" in selection.output:
                labels.update(batch.column("label"))
            if LENGTH in selection.output and (fault := _no_length(batch.column(LENGTH))):
                counts.problems.append(Problem(LENGTH_PATH, f"{selection.where}: {fault}"))
                break
            write(batch)
        if not counts.kept and not counts.problems:
            counts.problems.append(_no_rows(selection, counts.dropped))
        if counts.problems:
            raise InvalidRequestError(counts.problems)
    text_hashes = numbers.by_column()
    return DatasetFacts(
        split=split,
        name=name,
        rows=counts.kept,
        columns={name: kind for name, kind in selection.output.items() if name != LENGTH},
        has_lengths=LENGTH in selection.output,
        dropped_columns=unnamed_columns(selection.sources, selection.roles),
        dropped_rows=counts.dropped,
        duplicate_rows=count_duplicates(text_hashes),
        label_values=labels.values,
        label_range=labels.range,
        fingerprint=digest.hexdigest(),
        rows_read=counts.read if selection.makes_rows else None,
        short_rows=counts.short,
        path=str(write_to) if write_to else None,
        text_hashes=text_hashes,
    )


def _no_length(lengths: Any) -> str:
    """Return the problem of the first number that is no length, or nothing."""
    import numpy as np

    numbers = lengths.to_numpy(zero_copy_only=False)
    wrong = numbers[(numbers < 0) | (numbers != np.floor(numbers))]
    return f"{wrong[0]:g} is no length; a length is a number of tokens, 0 or more" if len(wrong) else ""


def _no_rows(selection: "Selection", dropped: int) -> Problem:
    message = f"all {dropped:,} rows are incomplete, so no row is left" if dropped else "the files hold no rows"
    return Problem(f"{selection.where}.path", message)
