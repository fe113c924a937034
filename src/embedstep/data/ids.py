"""Texts of a prepared dataset as integer ids, and further reads of its Arrow file."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

NOTHING = -1
_AT_ONCE = 8_192
"""Texts that are in memory at once."""


def read_table(path: Path) -> "pa.Table":
    """Return the rows of an Arrow IPC stream file; their columns are mapped into memory as long as they are used."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def text_ids(path: Path, inputs: Sequence[str]) -> "NDArray[np.int32]":
    """Return the id of each text, shape (columns, rows): equal texts have equal ids in all columns; NOTHING for none.

    Ids count the texts by their first occurrence, column after column. Texts are compared by 64-bit hashes, of which
    the memory depends on their number alone: among ten million texts the probability that two share an id is about 3 in
    a million, and these two would be kept out of one batch. A column of lists becomes as many columns as its longest
    list has texts.

    Args:
        path: Arrow IPC stream file of the prepared rows.
        inputs: columns of texts.
    """
    import numpy as np

    table = read_table(path)
    parts = [_flatten_texts(table.column(name)) for name in inputs]
    hashes = [_hash_texts(texts) for texts, _, _ in parts]
    numbers = number_texts(np.concatenate(hashes))
    columns: list[NDArray[np.int32]] = []
    for part, (_, row, place) in zip(np.split(numbers, np.cumsum(list(map(len, hashes)))[:-1]), parts, strict=True):
        if row is None or place is None:
            columns.append(part)
            continue
        spread = np.full((int(place.max(initial=-1)) + 1, table.num_rows), NOTHING, np.int32)
        spread[place, row] = part
        columns += list(spread)
    return np.stack(columns)


def number_texts(found: "NDArray[np.uint64]") -> "NDArray[np.int32]":
    """Return the id of each text, shape (texts,); see `text_ids`.

    Args:
        found: hash of each text, one column after the other, shape (texts,).
    """
    import numpy as np

    order = np.argsort(found, kind="stable")
    ordered = found[order]
    # The first of equal texts, which are next to each other now. `np.unique` sorts a second time for their order.
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(found), 1), bool), ordered[1:] != ordered[:-1]]))
    first = order[starts]
    is_first = np.zeros(len(found), bool)
    is_first[first] = True
    number = np.cumsum(is_first, dtype=np.int32) - np.int32(1)
    numbers = np.empty(len(found), np.int32)
    numbers[order] = np.repeat(number[first], np.diff(np.append(starts, len(found))))
    return numbers


def _hash_texts(texts: Any) -> "NDArray[np.uint64]":
    import numpy as np
    import pyarrow as pa

    from embedstep.data.duplicates import hash_texts

    found = [np.empty(0, np.uint64)]
    for chunk in texts.chunks:
        for start in range(0, len(chunk), _AT_ONCE):
            found.append(hash_texts(chunk.slice(start, _AT_ONCE).cast(pa.binary()).to_pylist()))
    return np.concatenate(found)


def _flatten_texts(column: Any) -> tuple[Any, Any, Any]:
    """Return the texts of a column; of a column of lists flattened, with each text's row and index in its list."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return column, None, None
    lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in column.chunks])
    row = np.repeat(np.arange(len(column)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return pa.chunked_array([chunk.flatten() for chunk in column.chunks]), row, place


def read_integers(path: Path, column: str) -> "NDArray[np.int64]":
    """Return a column of integers, shape (rows,).

    Args:
        path: Arrow IPC stream file of the prepared rows.
        column: name of the column, such as `label`.
    """
    import numpy as np

    numbers = read_table(path).column(column).combine_chunks()
    return np.array(numbers.to_numpy(zero_copy_only=False), np.int64)


def text_bytes(path: Path, inputs: Sequence[str]) -> "NDArray[np.int32]":
    """Return the total bytes of each row's texts in UTF-8, shape (rows,)."""
    import numpy as np
    import pyarrow.compute as pc

    table = read_table(path)
    lengths = np.zeros(table.num_rows, np.int64)
    for name in inputs:
        texts, row, _ = _flatten_texts(table.column(name))
        counts = pc.binary_length(texts).to_numpy(zero_copy_only=False)
        if row is None:
            lengths += counts
        else:
            np.add.at(lengths, row, counts)
    return lengths.astype(np.int32)


def read_rows(path: Path, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return some rows.

    Args:
        path: Arrow IPC stream file of the prepared rows.
        rows: row numbers, in the order of the result.
    """
    found: list[dict[str, Any]] = read_table(path).take(list(rows)).to_pylist()
    return found


def shared_text(path: Path, inputs: Sequence[str], row: int, other: int) -> str:
    """Return the text that two rows share, or else the last text of the first row.

    Args:
        path: Arrow IPC stream file of the prepared rows.
        inputs: columns of texts.
        row: number of one row.
        other: number of another row.
    """
    one, two = (_texts(found, inputs) for found in read_rows(path, [row, other]))
    return next((text for text in one if text in two), one[-1])


def _texts(row: Mapping[str, Any], inputs: Sequence[str]) -> list[str]:
    cells = [[row[name]] if isinstance(row[name], str) else row[name] for name in inputs]
    return list(chain.from_iterable(cells))
