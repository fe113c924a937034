"""The batches of one epoch over one dataset, as one array of row numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batches:
    """Batches one behind the other.

    Attributes:
        rows: row numbers, shape (sum of sizes,).
        starts: where each batch begins and the last one ends, shape (batches + 1,), int64.
    """

    rows: Rows
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> Rows:
        return self.rows[self.starts[number] : self.starts[number + 1]]


def even(table: NDArray[np.int32]) -> Batches:
    """Return the batches whose rows stand in the lines of `table`, shape (batches, size)."""
    count, size = table.shape
    return Batches(rows=table.reshape(-1), starts=np.arange(count + 1, dtype=np.int64) * size)


def joined(parts: Sequence[Batches]) -> Batches:
    """Return the batches of all parts, one behind the other."""
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    return Batches(rows=np.concatenate([part.rows for part in parts]), starts=_ends(sizes))


def cut(rows: Rows, size: int, *, drop_last: bool) -> Batches:
    """Return `rows` in batches of `size`, with or without a smaller last one."""
    whole = len(rows) // size * size
    starts = np.arange(0, whole + 1, size, dtype=np.int64)
    if drop_last or whole == len(rows):
        return Batches(rows=rows[:whole], starts=starts)
    return Batches(rows=rows, starts=np.append(starts, len(rows)))


def dealt(rows: Rows, count: int) -> Batches:
    """Return `rows` in `count` batches of almost the same size, row k in batch k mod `count`."""
    return gathered(rows, np.arange(len(rows)) % count)


def gathered(rows: Rows, numbers: NDArray[np.integer]) -> Batches:
    """Return the batches of rows for each of which the number of its batch is given, the larger ones first."""
    sizes = np.bincount(numbers)
    return in_order(rows, numbers, np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)])


def in_order(rows: Rows, numbers: NDArray[np.integer], order: NDArray[np.int64]) -> Batches:
    """Return the batches of rows for each of which the number of its batch is given.

    Args:
        rows: row numbers, shape (rows,).
        numbers: number of each row's batch, shape (rows,).
        order: the numbers of all batches that have rows, in the order of the batches.
    """
    sizes = np.bincount(numbers)
    rank = np.zeros(len(sizes), np.int64)
    rank[order] = np.arange(len(order))
    return Batches(rows=rows[np.argsort(rank[numbers], kind="stable")], starts=_ends(sizes[order]))


def split(batches: Batches, count: int) -> Batches:
    """Return the rows in `count` batches, for which the largest that are not full are halved, and full ones at last.

    Args:
        batches: batches, of which the full ones stand in front.
        count: at least as many as there are, and at most the rows.
    """
    sizes = np.diff(batches.starts)
    for _ in range(count - len(sizes)):
        smaller = np.where(sizes < sizes[0], sizes, 0)
        number = int(smaller.argmax() if smaller.max() > 1 else np.flatnonzero(sizes > 1)[-1])
        half = sizes[number] // 2
        sizes[number] -= half
        sizes = np.insert(sizes, number + 1, half)
    return Batches(rows=batches.rows, starts=_ends(sizes))


def _ends(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where batches of these sizes begin, and the last one ends."""
    return np.append(0, np.cumsum(sizes))


def without(count: int, rows: Rows) -> Rows:
    """Return the numbers below `count` that are not in `rows`."""
    is_left = np.ones(count, bool)
    is_left[rows.reshape(-1)] = False
    return np.flatnonzero(is_left).astype(np.int32)


def random_of(*numbers: int) -> np.random.RandomState:
    """Return a source of random numbers for a seed, an epoch and so on.

    The legacy generator, because numpy promises never to change its numbers (NEP 19): a run that is resumed with
    another numpy goes on with the same batches.
    """
    entropy = [number % 2**64 for number in numbers]
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(entropy)))
