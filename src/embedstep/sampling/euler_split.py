"""The largest number of batches without a repeated text in two columns, by Euler splits.

The texts of the two columns are the nodes of a bipartite graph, and each row is an edge. An Euler tour passes each node
in pairs of edges, so alternating edges split the rows into two halves, each with half the rows of every text, rounded
up or down. After k such splits, rows of which no text has more than 2**k make 2**k batches of equal size without a
repeated text. By a theorem of de Werra (Equitable colorations of graphs, 1971) this is possible for any number of
batches, not only for powers of two: here the rows for the largest power of two are split off first.

The number of batches limits the rows of a text that can be used, so these are selected first (`row_selection`).
"""

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Rows
from embedstep.sampling.row_selection import Nodes, positions_by_key, select_rows

_DIGITS = 28
"""Binary digits of a share. A text with as many rows as batches gets one row too many once in 2**28 / batches."""


def rows_for_batches(nodes: Nodes, most: int, size: int, random: np.random.RandomState, epoch: int) -> Rows:
    """Select the rows for the largest number of full batches, in a random order.

    Args:
        nodes: the texts, shape (2, rows).
        most: upper bound of the number of batches.
        size: rows of a batch.
        random: source of the order.
        epoch: selects the rows of frequent texts.
    """
    batches = most
    # Fewer batches allow fewer rows, so the rows that were found for too many batches bound the number of batches.
    while len(rows := select_rows(nodes, batches, random, epoch)) < batches * size:
        batches = len(rows) // size
    if spare := len(rows) - batches * size:
        rows = select_rows(nodes, batches, random, epoch, spare)
    return random.permutation(rows)[: batches * size]


def split_into_batches(nodes: Nodes, rows: Rows, size: int, random: np.random.RandomState) -> NDArray[np.int32]:
    """Split rows into batches without a repeated text, if no text has more rows than there are batches.

    Args:
        nodes: the texts, shape (2, rows of the dataset).
        rows: rows for full batches, in a random order.
        size: rows of a batch.
        random: source of the split.

    Returns:
        Shape (batches, size).
    """
    batches = len(rows) // size
    tables = [np.empty((0, size), np.int32)]
    while batches:
        power = 1 << (batches.bit_length() - 1)
        is_in = choose_share(nodes[:, rows], power, batches, random)
        table = rows[is_in].reshape(1, -1)
        while len(table) < power:
            table = halved(nodes, table)
        tables.append(table)
        rows, batches = rows[~is_in], batches - power
    return np.concatenate(tables)


def choose_share(nodes: Nodes, part: int, whole: int, random: np.random.RandomState) -> NDArray[np.bool_]:
    """Choose the share part / whole of all rows and of the rows of each text, the latter rounded up or down.

    Each row starts with this share as a binary fraction. From the last digit to the first, the rows with a 1 in that
    digit are halved: one half is rounded up and the other down, which keeps the sums. (Dependent rounding; Alon, A
    simple algorithm for edge-coloring bipartite multigraphs, 2003, finds one batch in this way.)

    Args:
        nodes: the texts, shape (2, rows); rows * part is a multiple of whole.
        part: numerator.
        whole: denominator.
        random: source of the choice.
    """
    rows = nodes.shape[1]
    each, more = divmod((rows * part // whole) << _DIGITS, rows)
    shares = each + (np.arange(rows) < more)
    for digit in range(_DIGITS):
        odd = random.permutation(np.flatnonzero((shares >> digit) & 1))
        shares[odd] += np.where(halves(nodes[:, odd].reshape(2, 1, -1))[0], 1 << digit, -(1 << digit))
    is_in: NDArray[np.bool_] = shares > 0
    return is_in


def halved(nodes: Nodes, table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Split each part, shape (parts, rows), into two, shape (2 * parts, rows / 2)."""
    is_first = halves(nodes[:, table])
    return np.concatenate([table[side].reshape(len(table), -1) for side in (is_first, ~is_first)])


def halves(nodes: Nodes) -> NDArray[np.bool_]:
    """Return a mask of half the rows of each part, and half the rows of each text in it, rounded up or down.

    In each column, the rows of a text are paired. Pairs of the two columns in turn form closed paths, and every other
    row of a path goes to the same half. Each row finds the least row of its path by pointer jumping, which doubles the
    distance in each round.

    Args:
        nodes: the texts, shape (2, parts, rows), an even number of rows.

    Returns:
        Shape (parts, rows).
    """
    first, second = map(_pairs, nodes)
    jump = second[first]
    least = np.arange(len(jump), dtype=np.int32)
    while True:
        further = np.minimum(least, least[jump])
        if np.array_equal(further, least):
            break
        least, jump = further, jump[jump]
    is_first: NDArray[np.bool_] = (least < least[first]).reshape(nodes.shape[1:])
    return is_first


def _pairs(keys: NDArray[np.int32]) -> NDArray[np.int32]:
    """Pair the positions of each part by key, the last ones of keys with an odd number among each other.

    Returns:
        The partner of each position.
    """
    order, place, length = positions_by_key(keys)
    is_odd = (place == length - 1) & (place % 2 == 0)
    order = np.concatenate([order[~is_odd], order[is_odd]])
    other = np.empty(len(order), np.int32)
    other[order[0::2]], other[order[1::2]] = order[1::2], order[0::2]
    return other
