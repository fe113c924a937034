"""Rows made by a function of another package: all rows at once, of a dataset's files or of anything else.

The function runs once, before the rows are read, and they are written to one file, so that everything after it is
about the rows that it makes. A row function (`row_functions`) makes rows one by one.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.data.hub import fetched_datasets
from embedstep.data.roles import Role
from embedstep.data.row_functions import declared_function
from embedstep.data.sources import find_files
from embedstep.errors import EmbedstepError, InvalidRequestError, Problem, first_line
from embedstep.request.extensions import ROW_SOURCES
from embedstep.request.options import Option, all_values

if TYPE_CHECKING:
    import pyarrow as pa

    from embedstep.data.sources import DataFile
    from embedstep.request.datasets import Dataset
    from embedstep.request.schema import TrainRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class RowSourceKind:
    """One source of rows.

    Attributes:
        name: its name in a request.
        function: gets the rows of the dataset's files as an Arrow table, or None where the request names no files, and
            the options as keyword arguments; returns an Arrow table, or anything else with `__arrow_c_stream__`.
        options: options by name.
    """

    name: str
    function: Callable[..., Any]
    options: Mapping[str, Option] = field(default_factory=dict)


def row_source(where: str, dataset: Dataset) -> RowSourceKind:
    """Return the declaration of what makes the rows of a dataset.

    Args:
        where: the dataset's place in the request.
        dataset: its section, with `rows`.

    Raises:
        InvalidRequestError: it is not declared, or takes other options.
    """
    assert dataset.rows is not None
    return declared_function(f"{where}.rows", dataset.rows, ROW_SOURCES, RowSourceKind, "source of rows")


def row_source_problems(request: TrainRequest) -> Iterator[Problem]:
    """Each source of rows is declared, and takes its options."""
    for split, name, dataset in fetched_datasets(request):
        if dataset.rows is not None:
            try:
                row_source(f"data.{split}.{name}", dataset)
            except InvalidRequestError as error:
                yield from error.problems


def make_rows(where: str, dataset: Dataset, target: Path) -> None:
    """Write the rows that a function makes to an Arrow stream file.

    Args:
        where: the dataset's place in the request.
        dataset: its section, with `rows`.
        target: the file.

    Raises:
        InvalidRequestError: the files cannot be read, or the function fails, makes no row, or no Arrow table.
        CannotStartError: a server with files could not be reached, or the disk is full.
    """
    import pyarrow as pa

    from embedstep.data.results import write_result

    kind, place = row_source(where, dataset), f"{where}.rows"
    assert dataset.rows is not None
    files = _read_files(where, dataset) if dataset.path is not None else None
    try:
        made = kind.function(files, **all_values(kind.options, dataset.rows.options))
        if not hasattr(made, "__arrow_c_stream__"):
            message = f"{kind.name} gives {type(made).__name__}; it must give an Arrow table"
            raise InvalidRequestError.at(place, message)
        reader = pa.RecordBatchReader.from_stream(made)
        write_result(place, reader, target)
    except EmbedstepError:
        raise
    except Exception as error:  # the function is somebody else's, and may raise anything
        message = f"{kind.name} fails: {type(error).__name__}: {first_line(error)}"
        raise InvalidRequestError.at(place, message) from error


def _read_files(where: str, dataset: Dataset) -> pa.Table:
    """Return the rows of a dataset's files, with all columns."""
    import pyarrow as pa

    from embedstep.data.formats import as_written

    files = find_files(where, dataset.path or (), dataset.split)
    tables = [_read_file(where, as_written(where, file, dataset.csv, [], sheet=dataset.sheet)) for file in files]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        message = f"the files have different columns: {first_line(error)}"
        raise InvalidRequestError.at(f"{where}.path", message) from error


def _read_file(where: str, file: DataFile) -> pa.Table:
    import pyarrow as pa

    from embedstep.data.cells import NotIntegersError
    from embedstep.data.formats import read_batches, read_schema

    names = read_schema(where, file, []).names
    if repeated := [name for name in names if names.count(name) > 1]:
        message = f"{file.name} has several columns named {repeated[0]!r}; rename all but one"
        raise InvalidRequestError.at(f"{where}.path", message)
    # As labels, because the digits of a column with another role would be text in a file without types.
    schema = read_schema(where, file, [Role(name=name, key="label", column=name) for name in names])
    types = {name: schema.field(name).type for name in names}
    try:
        return pa.Table.from_batches(read_batches(where, file, types), pa.schema(types))
    except NotIntegersError:
        # A column that began with integers has other numbers, too.
        types = {name: pa.float64() if dtype == pa.int64() else dtype for name, dtype in types.items()}
        return pa.Table.from_batches(read_batches(where, file, types), pa.schema(types))
