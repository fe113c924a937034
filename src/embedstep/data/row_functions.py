"""Rows made by a function of another package: one row of a file in, one row, several or none out.

The function runs where rows are read, before roles are given to columns, so that everything after it (checks, counts,
the fingerprint of the rows) is about the rows that it makes. It must give the same rows for the same row every time.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from embedstep.data.facts import ColumnKind
from embedstep.data.hub import named_datasets
from embedstep.errors import InvalidRequestError, Problem, first_line, suggest
from embedstep.request.extensions import ROW_FUNCTIONS, declared, entry_names
from embedstep.request.options import Option, all_values, check_options

if TYPE_CHECKING:
    import pyarrow as pa

    from embedstep.request.datasets import Dataset, RowFunction
    from embedstep.request.schema import TrainRequest
    from embedstep.request.sources import RowSource

Row = Mapping[str, Any]
Made = Row | Iterable[Row] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFunctionKind:
    """One row function.

    Attributes:
        name: its name in a request.
        function: gets a row as a mapping of the columns that it reads, and the options as keyword arguments; returns a
            row, several, or None for none. A cell without a value is None.
        reads: columns of the file that it needs.
        makes: columns of its rows and what they hold: text, texts, integer, number or numbers.
        options: options by name.
    """

    name: str
    function: Callable[..., Made]
    reads: tuple[str, ...]
    makes: Mapping[str, ColumnKind]
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowMaker:
    """A row function with its options, as one dataset uses it.

    Attributes:
        where: the dataset's place in the request.
        kind: the function.
        call: the function with its options.
    """

    where: str
    kind: RowFunctionKind
    call: Callable[[Row], Made]

    def batch(self, read: pa.RecordBatch, file: str, before: int, *, is_first: bool) -> pa.RecordBatch:
        """Return the rows that are made of a batch, in the columns that the function declares.

        Args:
            read: rows with the columns that it reads.
            file: name of the file, for messages.
            before: rows of the file before these.
            is_first: whether these are the first rows of the file; the first one is made twice and compared.

        Raises:
            InvalidRequestError: the function fails, or gives something else than it declares.
        """
        rows: list[Row] = []
        for number, row in enumerate(read.to_pylist(), start=before + 1):
            made = self._made(row, place := f"row {number} of {file}")
            if is_first and number == before + 1 and made != self._made(row, place):
                raise self._refused(f"gives other rows for {place} the second time; it must give the same")
            rows += made
        return self._as_batch(rows, f"rows {before + 1} to {before + read.num_rows} of {file}")

    def _made(self, row: Row, place: str) -> list[Row]:
        try:
            found = self.call(dict(row))
            rows = [] if found is None else [found] if isinstance(found, Mapping) else list(found)
        except Exception as error:  # the function is somebody else's, and may raise anything
            raise self._refused(f"fails on {place}: {type(error).__name__}: {first_line(error)}") from error
        for one in rows:
            if not isinstance(one, Mapping):
                raise self._refused(f"gives {type(one).__name__} for {place}; it must give mappings of columns")
            if unknown := sorted(map(str, one.keys() - self.kind.makes.keys())):
                raise self._refused(f"makes a column {unknown[0]!r} of {place} that it does not declare")
        return rows

    def _as_batch(self, rows: Sequence[Row], place: str) -> pa.RecordBatch:
        import pyarrow as pa

        from embedstep.data.cells import TYPES

        columns = []
        for name, kind in self.kind.makes.items():
            try:
                columns.append(pa.array([row.get(name) for row in rows], TYPES[kind]))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                message = f"makes a value of column {name!r} that is no {kind}, in {place}: {first_line(error)}"
                raise self._refused(message) from error
        return pa.RecordBatch.from_arrays(columns, names=list(self.kind.makes))

    def _refused(self, message: str) -> InvalidRequestError:
        return InvalidRequestError.at(f"{self.where}.row_function", f"{self.kind.name} {message}")


def row_maker(where: str, dataset: Dataset) -> RowMaker | None:
    """Return what makes the rows of a dataset, or None where they are taken as they stand.

    Args:
        where: the dataset's place in the request.
        dataset: its section.

    Raises:
        InvalidRequestError: the function is not declared, or takes other options.
    """
    given = dataset.row_function
    if given is None:
        return None
    kind = declared_function(f"{where}.row_function", given, ROW_FUNCTIONS, RowFunctionKind, "row function")
    return RowMaker(where=where, kind=kind, call=partial(kind.function, **all_values(kind.options, given.options)))


class _Declaration(Protocol):
    """What another package declares: its name, and its options by name."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> Mapping[str, Option]: ...


Declared = TypeVar("Declared", bound=_Declaration)


def declared_function(
    place: str, given: RowFunction | RowSource, group: str, kind: type[Declared], what: str
) -> Declared:
    """Return the declaration of a function of another package.

    Args:
        place: path of its section in the request.
        given: the section.
        group: the entry point group that its name is looked up in.
        kind: type of the declaration.
        what: what it is called in messages.

    Raises:
        InvalidRequestError: it is not declared, or takes other options.
    """
    try:
        found: Declared = declared(group, given.kind, kind)
    except LookupError:
        near = suggest(given.kind, entry_names(group))
        raise InvalidRequestError.at(f"{place}.kind", f"no {what} is named {given.kind!r}{near}") from None
    except ValueError as error:
        raise InvalidRequestError.at(f"{place}.kind", str(error)) from error
    if problems := check_options(found.options, given.options, f"{place}.options", found.name):
        raise InvalidRequestError(problems)
    return found


def row_functions_are_known(request: TrainRequest) -> Iterator[Problem]:
    """Each row function is declared, and takes its options."""
    for split, name, dataset in named_datasets(request):
        try:
            row_maker(f"data.{split}.{name}", dataset)
        except InvalidRequestError as error:
            yield from error.problems
