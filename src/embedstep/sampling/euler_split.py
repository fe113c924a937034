"""Batches in which no text of two columns stands twice, by halving: as many as there can be.

The texts of one column and those of the other are the nodes of a graph, and each row is an edge between its two. An
Euler tour passes each node in pairs of edges, so edges that follow each other on it are put on two sides in turn: each
side then has half the rows of every text, up to one half. Halved k times over, rows of which no text stands in more
than 2**k are 2**k batches of the same size without a text twice. That there are such batches for every number of them,
and not only for powers of two, is a theorem of de Werra (Equitable colorations of graphs, 1971). They are made by
dividing the rows first, a power of two of the batches on one side.

How many rows of a text can be used is up to the number of batches, so those are chosen before (`choosing`).
"""

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Rows
from embedstep.sampling.row_selection import Nodes, chosen, in_groups

_DIGITS = 28
"""Binary digits of a share. A text in as many rows as there are batches is one row off once in 2**28 / batches."""


def rows_for(nodes: Nodes, most: int, size: int, random: np.random.RandomState, turn: int) -> Rows:
    """Return rows for as many full batches as there can be, in a random order.

    Args:
        nodes: the texts, shape (2, rows).
        most: number of batches that is certainly not exceeded.
        size: rows of a batch.
        random: source of the order.
        turn: how many times rows were taken before.
    """
    batches = most
    # The fewer batches, the fewer rows can be chosen for them: so there are no more than those that these rows fill.
    while len(rows := chosen(nodes, batches, random, turn)) < batches * size:
        batches = len(rows) // size
    if spare := len(rows) - batches * size:
        rows = chosen(nodes, batches, random, turn, spare)
    return random.permutation(rows)[: batches * size]


def in_batches(nodes: Nodes, rows: Rows, size: int, random: np.random.RandomState) -> NDArray[np.int32]:
    """Return the rows in batches, none with a text twice if no text stands in more rows than there are batches.

    The batches are those of the largest power of two, then those of the next one, and so on.

    Args:
        nodes: the texts, shape (2, rows of the dataset).
        rows: rows for full batches, in a random order.
        size: rows of a batch.
        random: source of what goes together.

    Returns:
        Shape (batches, size).
    """
    batches = len(rows) // size
    tables = [np.empty((0, size), np.int32)]
    while batches:
        power = 1 << (batches.bit_length() - 1)
        is_in = share(nodes[:, rows], power, batches, random)
        table = rows[is_in].reshape(1, -1)
        while len(table) < power:
            table = halved(nodes, table)
        tables.append(table)
        rows, batches = rows[~is_in], batches - power
    return np.concatenate(tables)


def share(nodes: Nodes, part: int, whole: int, random: np.random.RandomState) -> NDArray[np.bool_]:
    """Choose part / whole of the rows, and as much of the rows of every text, up to less than one.

    Each row is in by that share at first, written as a binary number. From its last digit on, rows with a 1 there are
    halved: one half is rounded up and the other down, which leaves the sums as they are. (Dependent rounding; Alon, A
    simple algorithm for edge-coloring bipartite multigraphs, 2003, finds one batch in this way.)

    Args:
        nodes: the texts, shape (2, rows), with a number of rows that the share makes a whole number of.
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
    """Return the rows of each part, shape (parts, rows), in two parts, shape (2 * parts, rows / 2)."""
    is_first = halves(nodes[:, table])
    return np.concatenate([table[side].reshape(len(table), -1) for side in (is_first, ~is_first)])


def halves(nodes: Nodes) -> NDArray[np.bool_]:
    """Return which rows of each part are in its first half, and as many of each text, up to one.

    At each text its rows go in pairs, in either column. Who goes from a row to its pair in one column and from there
    to that one's in the other, and so on, comes back: the rows of every other step are on the same side. They find
    their least number by jumps of twice the length each time.

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
    """Return the other one of each one's pair, in a part: with the same key, or both the last of an odd number."""
    order, place, length = in_groups(keys)
    is_odd = (place == length - 1) & (place % 2 == 0)
    order = np.concatenate([order[~is_odd], order[is_odd]])
    other = np.empty(len(order), np.int32)
    other[order[0::2]], other[order[1::2]] = order[1::2], order[0::2]
    return other
