"""The batches of one epoch over one dataset, in one array of row numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batches:
    """Concatenated batches.

    Attributes:
        rows: row numbers, shape (sum of sizes,).
        starts: index in `rows` of the start of each batch and of the end of the last one, shape (batches + 1,), int64.
    """

    rows: Rows
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def largest(self) -> int:
        """Rows of the largest batch; 0 without a batch."""
        return int(np.diff(self.starts).max(initial=0))

    def __getitem__(self, number: int) -> Rows:
        return self.rows[self.starts[number] : self.starts[number + 1]]


def even(table: NDArray[np.int32]) -> Batches:
    """Return batches of equal size from a table of shape (batches, size)."""
    count, size = table.shape
    return Batches(rows=table.reshape(-1), starts=np.arange(count + 1, dtype=np.int64) * size)


def joined(parts: Sequence[Batches]) -> Batches:
    """Concatenate batches."""
    sizes = np.concatenate([np.diff(part.starts) for part in parts])
    return Batches(rows=np.concatenate([part.rows for part in parts]), starts=_ends(sizes))


def cut(rows: Rows, size: int, *, drop_last: bool) -> Batches:
    """Cut `rows` into batches of `size`; the rows behind the last full one make a smaller batch or are dropped."""
    whole = len(rows) // size * size
    starts = np.arange(0, whole + 1, size, dtype=np.int64)
    if drop_last or whole == len(rows):
        return Batches(rows=rows[:whole], starts=starts)
    return Batches(rows=rows, starts=np.append(starts, len(rows)))


def round_robin(rows: Rows, count: int) -> Batches:
    """Distribute `rows` over `count` batches: row k goes to batch k mod `count`."""
    return by_batch(rows, np.arange(len(rows)) % count)


def by_batch(rows: Rows, numbers: NDArray[np.integer]) -> Batches:
    """Group rows by the numbers of their batches; larger batches come first."""
    sizes = np.bincount(numbers)
    return in_order(rows, numbers, np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)])


def in_order(rows: Rows, numbers: NDArray[np.integer], order: NDArray[np.int64]) -> Batches:
    """Group rows by the numbers of their batches, in a given order of batches.

    Args:
        rows: row numbers, shape (rows,).
        numbers: number of each row's batch, shape (rows,).
        order: numbers of all batches that have rows, in the order of the result.
    """
    sizes = np.bincount(numbers)
    rank = np.zeros(len(sizes), np.int64)
    rank[order] = np.arange(len(order))
    return Batches(rows=rows[np.argsort(rank[numbers], kind="stable")], starts=_ends(sizes[order]))


def split(batches: Batches, count: int) -> Batches:
    """Increase the number of batches to `count` by halving the largest: first of those that are not full.

    Args:
        batches: batches, the full ones first.
        count: at least the number of batches, at most the number of rows.
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
    """Return the start of each batch and the end of the last one."""
    return np.append(0, np.cumsum(sizes))


def without(count: int, rows: Rows) -> Rows:
    """Return the numbers below `count` that are not in `rows`."""
    is_left = np.ones(count, bool)
    is_left[rows.reshape(-1)] = False
    return np.flatnonzero(is_left).astype(np.int32)


def random_state(*numbers: int) -> np.random.RandomState:
    """Create a random generator from a seed, an epoch and further numbers.

    The legacy generator, because numpy guarantees its numbers for ever (NEP 19): a run that is resumed with another
    release of numpy gets the same batches.
    """
    entropy = [number % 2**64 for number in numbers]
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(entropy)))
