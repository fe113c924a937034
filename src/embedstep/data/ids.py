"""The texts of a prepared dataset as numbers: equal texts get equal numbers, in whatever column they stand."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOTHING = -1
_LARGE = 2**30
"""Bytes of text from which 32-bit offsets may not suffice for one dictionary."""


def text_ids(path: Path, inputs: Sequence[str]) -> "NDArray[np.int32]":
    """Return the number of each text, exact and not by a hash, shape (columns, rows); NOTHING where there is none.

    A column of lists of texts becomes as many columns as its longest list has texts.

    Args:
        path: Arrow IPC stream file of the prepared rows.
        inputs: columns of texts.
    """
    import numpy as np
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
        parts = [_texts_of(table.column(name)) for name in inputs]
        texts = pa.chunked_array([chunk for values, _, _ in parts for chunk in values.chunks])
        if texts.nbytes > _LARGE:
            texts = texts.cast(pa.large_string())
        chunks: list[Any] = texts.dictionary_encode().chunks
        numbers = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
    columns: list[NDArray[np.int32]] = []
    for part, (_, row, place) in zip(
        np.split(numbers, np.cumsum([len(part[0]) for part in parts])[:-1]), parts, strict=True
    ):
        if row is None or place is None:
            columns.append(part)
            continue
        spread = np.full((int(place.max(initial=-1)) + 1, table.num_rows), NOTHING, np.int32)
        spread[place, row] = part
        columns += list(spread)
    return np.stack(columns)


def _texts_of(column: Any) -> tuple[Any, Any, Any]:
    """Return the texts of a column one behind the other; of lists also each text's row and its place in the list."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return column, None, None
    lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in column.chunks])
    row = np.repeat(np.arange(len(column)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return pa.chunked_array([chunk.flatten() for chunk in column.chunks]), row, place


def integers_in(path: Path, column: str) -> "NDArray[np.int64]":
    """Return the whole number of each row, shape (rows,).

    Args:
        path: Arrow IPC stream file of the prepared rows.
        column: a column of whole numbers, such as `label`.
    """
    import numpy as np
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        numbers = pa.ipc.open_stream(source).read_all().column(column).combine_chunks()
        return np.array(numbers.to_numpy(zero_copy_only=False), np.int64)


def text_lengths(path: Path, inputs: Sequence[str]) -> "NDArray[np.int32]":
    """Return the characters of all texts of each row, shape (rows,)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
        lengths = np.zeros(table.num_rows, np.int64)
        for name in inputs:
            texts, row, _ = _texts_of(table.column(name))
            counts = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
            if row is None:
                lengths += counts
            else:
                np.add.at(lengths, row, counts)
    return lengths.astype(np.int32)


def rows_at(path: Path, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return rows by their numbers, in that order.

    Args:
        path: Arrow IPC stream file of the prepared rows.
        rows: numbers of rows.
    """
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        found: list[dict[str, Any]] = pa.ipc.open_stream(source).read_all().take(list(rows)).to_pylist()
    return found


def text_at(path: Path, inputs: Sequence[str], row: int, other: int) -> str:
    """Return the text that two rows share, or that of the first row's last column.

    Args:
        path: Arrow IPC stream file of the prepared rows.
        inputs: columns of texts.
        row: number of one row.
        other: number of another row.
    """
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all().select(list(inputs))
        one, two = ([text for cell in table.slice(int(place), 1).to_pylist()[0].values() for text in _as_list(cell)]
                    for place in (row, other))  # fmt: skip
    return next((text for text in one if text in two), one[-1])


def _as_list(cell: str | list[str]) -> list[str]:
    return [cell] if isinstance(cell, str) else cell
