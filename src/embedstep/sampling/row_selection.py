"""Select the most rows such that no text of two columns has more of them than there are batches."""

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Rows

Nodes = NDArray[np.int32]
"""Id of the text of each row in two columns, 0 for a text of no other row, shape (2, ..., rows)."""
Counts = NDArray[np.int64]


def select_rows(nodes: Nodes, batches: int, random: np.random.RandomState, epoch: int, spare: int = 0) -> Rows:
    """Select the most rows such that each text has at most `batches` of them; at most `spare` fewer than possible.

    Only texts with more rows than that (frequent texts) limit the number. Their rows with one frequent text are
    selected first, because a row of two frequent texts uses the capacity of both. Rows of two frequent texts would
    never be used then, so `spare` of them are selected in any case, others in each epoch.

    Args:
        nodes: the texts, shape (2, rows).
        batches: the most rows of one text.
        random: source of the choice among rows of two frequent texts.
        epoch: selects the rows of frequent texts; the next epoch continues where this one ends.
        spare: rows of two frequent texts to select in any case. Each displaces at most two others, so the result has
            at most one row fewer for each of them.
    """
    is_frequent = np.stack([(np.bincount(side) > batches)[side] & (side > 0) for side in nodes])
    is_chosen = ~(is_frequent[0] | is_frequent[1])
    capacity = [np.full(int(side.max(initial=0)) + 1, batches) for side in nodes]
    both = np.flatnonzero(is_frequent[0] & is_frequent[1])
    first = both[(epoch * spare + np.arange(min(spare, len(both)))) % max(len(both), 1)]
    is_chosen[first[_fit_into_capacity(nodes[:, first], capacity)]] = True
    for side, other in ((0, 1), (1, 0)):
        rows = np.flatnonzero(is_frequent[side] & ~is_frequent[other])
        order, place, length = positions_by_key(nodes[side, rows].reshape(1, -1))
        rows = rows[order]
        rows = rows[(place - epoch * batches) % length < capacity[side][nodes[side, rows]]]
        is_chosen[rows] = True
        capacity[side] -= np.bincount(nodes[side, rows], minlength=len(capacity[side]))
    rows = random.permutation(both[~is_chosen[both]])
    is_chosen[rows[_fit_into_capacity(nodes[:, rows], capacity)]] = True
    return np.flatnonzero(is_chosen).astype(np.int32)


def _fit_into_capacity(nodes: Nodes, capacity: list[Counts]) -> NDArray[np.bool_]:
    """Return a mask of the most rows that fit into the capacity of their texts, preferring earlier rows.

    Args:
        nodes: the texts, shape (2, rows).
        capacity: the most rows of each text, by its id, for each column; reduced here by the rows that are selected.
    """
    _, first, pair = np.unique(nodes[0].astype(np.int64) << 32 | nodes[1], return_index=True, return_inverse=True)
    taken = np.zeros(len(first), np.int64)
    left = np.arange(nodes.shape[1])
    while len(left):
        fits = np.ones(len(left), bool)
        for side, of_text in zip(nodes[:, left], capacity, strict=True):
            order, place, _ = positions_by_key(side.reshape(1, -1))
            fits[order] &= place < of_text[side[order]]
        for side, of_text in zip(nodes[:, left[fits]], capacity, strict=True):
            np.subtract.at(of_text, side, 1)
        np.add.at(taken, pair[left[fits]], 1)
        left = left[~fits]
        left = left[(capacity[0][nodes[0, left]] > 0) & (capacity[1][nodes[1, left]] > 0)]
    texts, waiting = nodes[:, first], np.bincount(pair, minlength=len(first)) - taken
    while _augment(texts, waiting, taken, capacity):
        pass
    order, place, _ = positions_by_key(pair.astype(np.int32).reshape(1, -1))
    found = np.zeros(len(pair), bool)
    found[order] = place < taken[pair[order]]
    return found


def _augment(nodes: Nodes, waiting: Counts, taken: Counts, capacity: list[Counts]) -> bool:
    """Select more rows along the shortest augmenting paths, and return whether there was one.

    A path leads from a text of the first column with capacity to one of the second with capacity, alternating between
    rows to select and rows to deselect. If there is none, no selection has more rows (Ford and Fulkerson). Paths from
    different texts are disjoint, because each text is reached from one other text only.

    Args:
        nodes: the two texts of each pair, shape (2, pairs).
        waiting: number of rows of each pair that are not selected, shape (pairs,), changed here.
        taken: number of selected rows of each pair, shape (pairs,), changed here.
        capacity: how many more rows each text can have, by its id, for each column, changed here.
    """
    one, two = nodes
    is_reached = [capacity[0] > 0, np.zeros(len(capacity[1]), bool)]
    by = [np.full(len(of_text), -1) for of_text in capacity]
    while True:
        steps = np.flatnonzero((waiting > 0) & is_reached[0][one] & ~is_reached[1][two])
        if not len(steps):
            return False
        by[1][two[steps]] = steps
        is_reached[1][two[steps]] = True
        ends = np.unique(two[steps][capacity[1][two[steps]] > 0])
        if len(ends):
            break
        steps = np.flatnonzero((taken > 0) & is_reached[1][two] & ~is_reached[0][one])
        by[0][one[steps]] = steps
        is_reached[0][one[steps]] = True
    # All of these paths have the same length.
    coming, going = [by[1][ends]], []
    while (back := by[0][one[coming[-1]]]).max() >= 0:
        going.append(back)
        coming.append(by[1][two[back]])
    starts, first = np.unique(one[coming[-1]], return_index=True)
    coming, going, ends = [step[first] for step in coming], [step[first] for step in going], ends[first]
    limits = [capacity[0][starts], capacity[1][ends], *(waiting[s] for s in coming), *(taken[s] for s in going)]
    rows = np.min(limits, axis=0)
    for steps, sign in [(steps, 1) for steps in coming] + [(steps, -1) for steps in going]:
        taken[steps] += sign * rows
        waiting[steps] -= sign * rows
    capacity[0][starts] -= rows
    capacity[1][ends] -= rows
    return True


def positions_by_key(keys: NDArray[np.int32]) -> tuple[Counts, Counts, Counts]:
    """Sort the positions of each part by key.

    Args:
        keys: shape (parts, keys).

    Returns:
        The positions, counted through all parts; for each of them its index among the positions with its key, and
        their number; all of shape (parts * keys,).
    """
    # Sorting key and position packed into one integer is faster than a stable sort by key.
    both = keys.astype(np.int64)
    both <<= 32
    both |= np.arange(keys.size).reshape(keys.shape)
    both.sort(axis=1)
    order = (both & (2**32 - 1)).reshape(-1)
    both >>= 32
    is_new = np.ones(keys.shape, bool)
    is_new[:, 1:] = both[:, 1:] != both[:, :-1]
    starts = np.flatnonzero(is_new)
    lengths = np.diff(starts, append=keys.size)
    return order, np.arange(keys.size) - np.repeat(starts, lengths), np.repeat(lengths, lengths)
