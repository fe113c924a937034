"""Determine the kind of each requested column over all files of a dataset.

All mistakes of columns and roles are found here, before any row is read, and reported together.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pyarrow as pa

from embedstep.data.cells import KIND_NAMES, TYPES, kind_of
from embedstep.data.facts import ColumnKind
from embedstep.data.formats import TEXT_FORMATS, read_batches
from embedstep.data.nested import columns_of_fields, fields_of, with_fields
from embedstep.data.roles import Role
from embedstep.data.row_functions import RowMaker
from embedstep.data.sources import DataFile
from embedstep.errors import InvalidRequestError, Problem, collect_problems, suggest

_REQUIRED: dict[str, tuple[str, tuple[ColumnKind, ...]]] = {
    "anchor": ("an anchor is text", ("text",)),
    "positive": ("a positive is text or a list of texts", ("text", "texts")),
    "negative": ("a negative is text or a list of texts", ("text", "texts")),
    "label": ("a label is a number or a list of numbers", ("integer", "number", "numbers")),
    "length": ("a length is a number of tokens", ("integer",)),
    "slice": ("a slice is a name or an integer", ("text", "integer")),
    "group": ("a group is a name or a number", ("text", "integer", "number")),
}
"""What a role requires, in words and as kinds."""
_SHOWN_VALUES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file and its columns.

    Attributes:
        file: the file.
        schema: its columns, or those of the rows that are made of it.
        maker: makes rows of the file's, or None where they are taken as they stand.
        read: the columns of the file that the maker reads.
    """

    file: DataFile
    schema: pa.Schema
    maker: RowMaker | None = None
    read: Mapping[str, pa.DataType] = field(default_factory=dict)

    def with_numbers(self) -> "Source":
        """Return the file with the integers that its maker reads as numbers."""
        types = {name: pa.float64() if kind_of(dtype) == "integer" else dtype for name, dtype in self.read.items()}
        return replace(self, read=types)


def made_source(where: str, file: DataFile, schema: pa.Schema, maker: RowMaker) -> Source:
    """Return a file with the columns of the rows that are made of it.

    Args:
        where: the dataset's place in the request.
        file: the file.
        schema: its own columns.
        maker: makes the rows.

    Raises:
        InvalidRequestError: the file lacks a column that the function reads.
    """
    for column in maker.kind.reads:
        if fault := _absent(column, file, schema.names):
            raise InvalidRequestError.at(f"{where}.row_function", f"{maker.kind.name} reads it, but {fault}")
    types = dict(zip(schema.names, schema.types, strict=True))
    made = pa.schema([(name, TYPES[kind]) for name, kind in maker.kind.makes.items()])
    return Source(file=file, schema=made, maker=maker, read={name: types[name] for name in maker.kind.reads})


def source_batches(
    where: str, source: Source, types: Mapping[str, pa.DataType]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of a file, or those that are made of it, with the columns of `types`; see `read_batches`.

    With each batch comes the number of rows of the file that it is made of.
    """
    before = skipped = source.file.rows_before
    for batch in read_batches(where, source.file, source.read if source.maker else types):
        made = batch
        if source.maker:
            made = source.maker.batch(batch, source.file.name, before, is_first=before == skipped).select(list(types))
        before += batch.num_rows
        yield batch.num_rows, made


def column_kinds(where: str, sources: Sequence[Source], roles: Sequence[Role]) -> dict[str, ColumnKind]:
    """Return the kind of each requested column by its name in the files.

    Args:
        where: path of the dataset in the request.
        sources: all files of the dataset.
        roles: the requested columns, each named once.

    Raises:
        InvalidRequestError: with each column that is missing, repeated, different between files, or of a kind that its
            role does not allow.
    """
    kinds: dict[str, ColumnKind] = {}
    problems: list[Problem] = []
    several_labels = sum(role.key == "label" for role in roles) > 1
    for role in roles:
        if role.element:  # the column was judged with its first element
            continue
        with collect_problems(problems):
            kinds[role.column] = _checked_kind(where, role, sources, several_labels=several_labels)
    if problems:
        raise InvalidRequestError(problems)
    return kinds


def _checked_kind(where: str, role: Role, sources: Sequence[Source], *, several_labels: bool) -> ColumnKind:
    fault = _missing_column(role, sources) or _repeated_column(role, sources)
    if not fault:
        kind = _common_kind(where, role, sources)
        fault = _unfit_kind(where, role, kind, sources, several_labels=several_labels)
    if fault:
        raise InvalidRequestError.at(role.path(where), fault)
    return "number" if role.key == "label" and several_labels else kind


def reading_types(source: Source, kinds: Mapping[str, ColumnKind]) -> dict[str, pa.DataType]:
    """Return the types for reading the columns of a text file: a column's own type if it is of the right kind."""
    own = {column: source.schema.field(column).type for column in kinds}
    return {column: own[column] if kind_of(own[column]) == kind else TYPES[kind] for column, kind in kinds.items()}


def unnamed_columns(sources: Sequence[Source], roles: Sequence[Role]) -> tuple[str, ...]:
    """Return the columns of all files without a role for them or a field of theirs, in order of appearance."""
    named = {role.column for role in roles}
    named |= {name for source in sources for name in columns_of_fields(source.schema)}
    return tuple(dict.fromkeys(name for source in sources for name in source.schema.names if name not in named))


def _missing_column(role: Role, sources: Sequence[Source]) -> str:
    lacking = [source for source in sources if role.column not in source.schema.names]
    if not lacking:
        return ""
    if (maker := lacking[0].maker) is not None:
        made = maker.kind.makes
        listed = f"it makes {', '.join(made)}{suggest(role.column, list(made))}"
        return f"{maker.kind.name} makes no column {role.column!r}; {listed}"
    more = f" (nor have {len(lacking) - 1} more files)" if len(lacking) > 1 else ""
    schema = lacking[0].schema
    fields = fields_of(schema, role.column.partition(".")[0])
    return _absent(role.column, lacking[0].file, [*dict.fromkeys([*schema.names, *fields])], more)


def _absent(column: str, file: DataFile, names: Sequence[str], more: str = "") -> str:
    if column in names:
        return ""
    listed = f"{', '.join(names) or 'none'}{suggest(column, names)}"
    return f"{file.name} has no column {column!r}{more}; its columns are {listed}"


def _repeated_column(role: Role, sources: Sequence[Source]) -> str:
    for source in sources:
        if source.schema.names.count(role.column) > 1:
            return f"{source.file.name} has several columns named {role.column!r}; rename all but one"
    return ""


def _common_kind(where: str, role: Role, sources: Sequence[Source]) -> ColumnKind:
    """Return the kind of the column in all files.

    Raises:
        InvalidRequestError: it has none, several, or one that no role allows.
    """
    first: dict[ColumnKind | None, Source] = {}
    for source in sources:
        if (kind := kind_of(source.schema.field(role.column).type)) != "empty":
            first.setdefault(kind, source)
    # Text files have no types, so the numbers of one file may all look like integers.
    is_typed = any(source.file.format not in TEXT_FORMATS for source in sources)
    if set(first) == {"integer", "number"} and (role.integers or not is_typed):
        return "number"
    found = [(kind, _kind_name(kind, role, source), source.file.name) for kind, source in first.items()]
    match found:
        case [] if role.optional:
            return "texts"
        case []:
            fault = f"has no value in any row; {_REQUIRED[role.key][0]}"
        case [(kind, name, _)]:
            if kind is not None:
                return kind
            fault = f"holds {name}; {_REQUIRED[role.key][0]}{_suggest_field(role, first[kind])}"
        case [(_, one, here), (_, other, there), *_]:
            fault = f"holds {one} in {here} and {other} in {there}; all files need the same kind"
    raise InvalidRequestError.at(role.path(where), f"column {role.column!r} {fault}")


def _suggest_field(role: Role, source: Source) -> str:
    """Return which field of an object could have the role, to end a message."""
    names = fields_of(source.schema, role.column)
    types = with_fields(source.schema, names)
    fitting = [name for name in names if kind_of(types.field(name).type) in _REQUIRED[role.key][1]]
    return f"; name a field of it, such as {fitting[0]}" if fitting else ""


def _kind_name(kind: ColumnKind | None, role: Role, source: Source) -> str:
    return f"values of type {source.schema.field(role.column).type}" if kind is None else KIND_NAMES[kind]


def _unfit_kind(where: str, role: Role, kind: ColumnKind, sources: Sequence[Source], *, several_labels: bool) -> str:
    if role.key == "label" and kind == "text":
        shown = ", ".join(repr(value) for value in _first_texts(where, role, sources))
        return f"column {role.column!r} holds text ({shown}); a label is a number, and classes are numbered from 0"
    required, allowed = _REQUIRED[role.key]
    if role.list is not None and kind == "text":
        return f"column {role.column!r} holds text and no lists; write {role.key}: {role.column}"
    if kind not in allowed:
        return f"column {role.column!r} holds {KIND_NAMES[kind]}; {required}"
    if role.key == "label" and several_labels and kind == "numbers":
        return f"column {role.column!r} holds lists of numbers; several label columns hold one number each"
    return ""


def _first_texts(where: str, role: Role, sources: Sequence[Source]) -> list[str]:
    """Return examples of a column's texts; none if the file is broken, as there is a problem already."""
    with suppress(InvalidRequestError):
        for _, batch in source_batches(where, sources[0], {role.column: pa.string()}):
            texts = dict.fromkeys(str(value) for value in batch.column(0).drop_null().to_pylist())
            return list(texts)[:_SHOWN_VALUES]
    return []
