"""Fields of columns that hold objects, by names such as `meta.title`; a column of that very name comes first."""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Path = tuple[str, ...]
"""Names from the column to the field: `("meta", "title")`; of a plain column its own alone."""


_COLUMN = b"embedstep.column"


def path_in_schema(schema: pa.Schema, name: str) -> Path | None:
    """Return the path of a column or field, or None if there is none of this name."""
    if name in schema.names:
        return (name,)
    for column in schema:
        if pa.types.is_struct(column.type) and name.startswith(f"{column.name}."):
            inner = path_in_schema(pa.schema(list(column.type)), name.removeprefix(f"{column.name}."))
            if inner is not None:
                return (column.name, *inner)
    return None


def path_in_row(row: Mapping[str, Any], name: str) -> Path | None:
    """Return the path of a column or field in a JSON object, or None if there is none of this name."""
    if name in row:
        return (name,)
    for column, value in row.items():
        if isinstance(value, dict) and name.startswith(f"{column}."):
            inner = path_in_row(value, name.removeprefix(f"{column}."))
            if inner is not None:
                return (column, *inner)
    return None


def value_in_place_of_object(row: Mapping[str, Any], name: str) -> tuple[str, Any] | None:
    """Return the column or field, and its value, that is no object although `name` is a field of it."""
    for column, value in row.items():
        if name.startswith(f"{column}.") and value is not None:
            if not isinstance(value, dict):
                return column, value
            inner = value_in_place_of_object(value, name.removeprefix(f"{column}."))
            return None if inner is None else (f"{column}.{inner[0]}", inner[1])
    return None


def with_fields(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Return the columns of a file, with those of `names` that are fields as further columns."""
    for name in names:
        path = path_in_schema(schema, name)
        if path is not None and len(path) > 1:
            column, *inner = path
            dtype: Any = schema.field(column).type
            for part in inner:
                dtype = dtype.field(part).type
            schema = schema.append(path_field(name, dtype, path))
    return schema


def path_field(name: str, dtype: pa.DataType, path: Path) -> pa.Field[Any]:
    """Return a further column of a schema that is the field at a path."""
    return pa.field(name, dtype, metadata={_COLUMN: path[0]} if len(path) > 1 else None)


def leaf_names(schema: pa.Schema) -> tuple[str, ...]:
    """Return the names of the columns, and in place of one that holds objects those of its fields, at any depth."""
    return tuple(_leaves([(one.name, one.type) for one in schema]))


def _leaves(columns: Iterable[tuple[str, pa.DataType]]) -> Iterator[str]:
    for name, dtype in columns:
        if pa.types.is_struct(dtype):
            yield from _leaves((f"{name}.{inner.name}", inner.type) for inner in dtype)
        else:
            yield name


def leaf_names_of_row(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of a JSON object's values, and in place of an object those of its own, at any depth."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in leaf_names_of_row(value))
        else:
            yield name


def columns_of_fields(schema: pa.Schema) -> set[str]:
    """Return the columns with a field that is a further column of the schema."""
    return {one.metadata[_COLUMN].decode() for one in schema if one.metadata and _COLUMN in one.metadata}


def pick_columns(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Return columns and fields under their names; a field of a missing object is null."""
    return pa.RecordBatch.from_arrays([_pick(batch, name) for name in names], names=list(names))


def _pick(batch: pa.RecordBatch, name: str) -> pa.Array[Any]:
    column, *inner = path_in_schema(batch.schema, name) or (name,)
    found: Any = batch.column(column)
    for part in inner:
        found = pc.struct_field(found, part)
    picked: pa.Array[Any] = found
    return picked


def schema_of_paths(types: Mapping[Path, pa.DataType]) -> pa.Schema:
    """Return the columns that hold fields of these paths and types."""
    return pa.schema(
        [
            (column, types[column,] if (column,) in types else pa.struct(list(schema_of_paths(_inside(types, column)))))
            for column in dict.fromkeys(path[0] for path in types)
        ]
    )


def _inside(types: Mapping[Path, pa.DataType], column: str) -> dict[Path, pa.DataType]:
    return {path[1:]: dtype for path, dtype in types.items() if path[0] == column}


def fields_of(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Return the names of the fields of a column, such as `meta.title`; none of a column without any."""
    dtypes = [one.type for one in schema if one.name == column and pa.types.is_struct(one.type)]
    return tuple(f"{column}.{inner.name}" for dtype in dtypes for inner in dtype)
