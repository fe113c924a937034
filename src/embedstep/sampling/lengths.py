"""Batches of rows of similar length, which need less padding.

Batches without repeated texts stay so: a window of batches is sorted by a sorting network (Batcher's odd-even merge
sort). Where the network compares two numbers, two batches exchange rows: the shorter ones go to the first batch, the
longer ones to the second. Two rows that share a text only swap batches; rows with several such partners stay.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Batches, cut, even, joined
from embedstep.sampling.texts import Texts

WINDOW = 32
"""Number of batches that are sorted together; a power of two."""

Lengths = NDArray[np.int32]


def arrange(lengths: Lengths, size: int, *, drop_last: bool, random: np.random.RandomState) -> Batches:
    """Return batches of `size` rows of similar length, in a random order.

    Args:
        lengths: number of tokens of each row, shape (rows,).
        size: rows of a batch.
        drop_last: drop the rows that fill no batch; otherwise a smaller batch follows.
        random: source of the order.
    """
    rows = random.permutation(np.arange(len(lengths), dtype=np.int32))
    # The rows that fill no batch are drawn before sorting, so that they are not always the longest.
    batches = cut(rows, size, drop_last=drop_last)
    whole = len(rows) // size * size
    full = rows[:whole]
    full = full[np.lexsort((lengths[full], np.arange(whole) // (size * WINDOW)))].reshape(-1, size)
    rest = Batches(rows=rows[whole : len(batches.rows)], starts=batches.starts[whole // size :] - whole)
    return joined([even(random.permutation(full)), rest])


def exchange_rows(texts: Texts, table: NDArray[np.int32], lengths: Lengths) -> NDArray[np.int32]:
    """Exchange rows between batches so that the rows of a batch have similar lengths.

    Args:
        texts: the texts; a batch has no repeated text, before and after.
        table: row numbers, shape (batches, size).
        lengths: number of tokens of each row, shape (rows,).
    """
    table = table.copy()
    for one, other in _network(WINDOW):
        distance = np.zeros(WINDOW, np.int64)
        distance[one] = other - one
        first = np.flatnonzero(distance[np.arange(len(table)) % WINDOW])
        second = first + distance[first % WINDOW]
        # Batches that the last window lacks count as the longest, so nothing has to be exchanged with them.
        is_there = second < len(table)
        _split(texts, table, first[is_there], second[is_there], lengths)
    return table


def _network(size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the comparisons of Batcher's odd-even merge sort, grouped into rounds of independent ones."""
    places = np.arange(size)
    span = 1
    while span < size:
        step = span
        while step >= 1:
            one = places[: size - step]
            one = one[(one - step % span) % (2 * step) < step]
            one = one[(one >= step % span) & (one // (2 * span) == (one + step) // (2 * span))]
            yield one, one + step
            step //= 2
        span *= 2


def _split(
    texts: Texts, table: NDArray[np.int32], one: NDArray[np.int64], other: NDArray[np.int64], lengths: Lengths
) -> None:
    """Give the shorter rows of two batches to the first and the longer ones to the second, for many pairs at once."""
    rows = np.concatenate([table[one], table[other]], axis=1)
    pairs, width = rows.shape
    flat = rows.reshape(-1)
    pair = np.repeat(np.arange(pairs), width)
    length = lengths[flat]
    left, right = _collisions(texts, flat, pair)
    is_free = np.ones(len(flat), bool)
    is_free[left] = is_free[right] = False
    places = np.flatnonzero(is_free)
    flat[places] = flat[places][np.lexsort((length[places], pair[places]))]
    meets = np.bincount(np.concatenate([left, right]), minlength=len(flat))
    # A collision is between a row of the first batch (left) and one of the second (right).
    wrong = (meets[left] == 1) & (meets[right] == 1) & (length[left] > length[right])
    left, right = left[wrong], right[wrong]
    flat[left], flat[right] = flat[right], flat[left]
    table[one], table[other] = rows[:, : width // 2], rows[:, width // 2 :]


def _collisions(
    texts: Texts, rows: NDArray[np.int32], pair: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of each two rows of a pair of batches that share a text, in ascending order."""
    key, owner = texts.keys(rows, pair)
    order = np.lexsort((owner, key))
    key, owner = key[order], owner[order]
    meets = np.flatnonzero(key[1:] == key[:-1])
    both = np.unique(np.stack([owner[meets], owner[meets + 1]]), axis=1)
    return both[0], both[1]
