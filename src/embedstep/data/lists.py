"""Columns with a list of texts in each row: as several columns, as several rows, and back."""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedstep.data.roles import Role


def list_lengths(lists: Any) -> NDArray[np.int64]:
    """Return the number of texts in each list, 0 for null; shape (rows,)."""
    return np.where(pc.is_null(lists).to_numpy(zero_copy_only=False), 0, np.diff(lists.offsets.to_numpy()))


def without_nulls(lists: Any) -> pa.Array[Any]:
    """Return the lists with an empty list in place of null."""
    found: pa.Array[Any] = pc.coalesce(lists, pa.scalar([], lists.type))
    return found


def nth_texts(lists: Any, place: int) -> pa.Array[Any]:
    """Return one text of each list, counted from 0; behind its end a list begins again. No list is empty."""
    texts: pa.Array[Any] = lists.values.take(pa.array(lists.offsets.to_numpy()[:-1] + place % list_lengths(lists)))
    return texts


def one_by_one(lists: Any) -> tuple[pa.Array[Any], NDArray[np.int64]]:
    """Return the texts of all lists, a null for a list without any, and the number of each one's list."""
    lengths = list_lengths(lists)
    counts = np.maximum(lengths, 1)
    parents = np.repeat(np.arange(len(lists)), counts)
    places = np.arange(len(parents)) - (np.cumsum(counts) - counts)[parents] + lists.offsets.to_numpy()[:-1][parents]
    return lists.values.take(pa.array(places, mask=lengths[parents] == 0)), parents


def source_columns(roles: Sequence[Role], rows: pa.Table) -> dict[str, Any]:
    """Return the columns of rows under their names in the source, so that the same request reads them again.

    Args:
        roles: roles of the columns; those of labels are left out.
        rows: rows with columns named by role.
    """
    columns: dict[str, Any] = {}
    for role in roles:
        if role.key == "label":
            continue
        if role.list is None:
            columns[role.column] = rows.column(role.name)
        elif role.column not in columns:
            texts = [rows.column(one.name) for one in roles if one.column == role.column]
            columns[role.column] = _as_lists(texts)
    return columns


def _as_lists(columns: Sequence[Any]) -> Any:
    """Combine columns of texts into a column of lists, with one text of each in a list."""
    batches = pa.table(list(columns), names=[str(place) for place in range(len(columns))]).to_batches()
    chunks: list[Any] = [_row_texts(batch) for batch in batches]
    dtype: Any = pa.list_(columns[0].type)
    return pa.chunked_array(chunks, dtype)


def _row_texts(batch: pa.RecordBatch) -> pa.Array[Any]:
    rows, width = batch.num_rows, batch.num_columns
    columns: Any = batch.columns
    texts: Any = pa.concat_arrays(columns)
    in_rows = texts.take(np.arange(rows * width).reshape(width, rows).T.ravel())
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * width, pa.int32()), in_rows)
