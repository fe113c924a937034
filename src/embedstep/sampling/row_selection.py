"""The most rows of which no text of two columns stands in more than so many: what so many batches can be made of."""

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Rows

Nodes = NDArray[np.int32]
"""Number of the text of each row in two columns, 0 for one that stands in no other row, shape (2, ..., rows)."""
Counts = NDArray[np.int64]


def chosen(nodes: Nodes, batches: int, random: np.random.RandomState, turn: int, spare: int = 0) -> Rows:
    """Return as many rows as there can be of which no text stands in more than `batches`, less at most `spare`.

    Only texts in more rows than that are in the way, and most of their rows have another text that is in nobody's way.
    Those are taken first: a row of two frequent texts would take the place of one of them, if not of two. That there is
    more of them than is needed lets some of these rows in nevertheless, other ones each time.

    Args:
        nodes: the texts, shape (2, rows).
        batches: rows of one text that may be taken.
        random: source of the choice among rows of two frequent texts.
        turn: how many times rows were taken before: of a text's rows, the next ones are.
        spare: rows of two frequent texts to take in any case. Each takes the place of two others at most, so that there
            is at most one row less for it.
    """
    is_frequent = np.stack([(np.bincount(side) > batches)[side] & (side > 0) for side in nodes])
    is_chosen = ~(is_frequent[0] | is_frequent[1])
    room = [np.full(int(side.max(initial=0)) + 1, batches) for side in nodes]
    both = np.flatnonzero(is_frequent[0] & is_frequent[1])
    first = both[(turn * spare + np.arange(min(spare, len(both)))) % max(len(both), 1)]
    is_chosen[first[_where_there_is_room(nodes[:, first], room)]] = True
    for side, other in ((0, 1), (1, 0)):
        rows = np.flatnonzero(is_frequent[side] & ~is_frequent[other])
        order, place, length = in_groups(nodes[side, rows].reshape(1, -1))
        rows = rows[order]
        rows = rows[(place - turn * batches) % length < room[side][nodes[side, rows]]]
        is_chosen[rows] = True
        room[side] -= np.bincount(nodes[side, rows], minlength=len(room[side]))
    rows = random.permutation(both[~is_chosen[both]])
    is_chosen[rows[_where_there_is_room(nodes[:, rows], room)]] = True
    return np.flatnonzero(is_chosen).astype(np.int32)


def _where_there_is_room(nodes: Nodes, room: list[Counts]) -> NDArray[np.bool_]:
    """Return which rows go into the room that there is for each text, as many as there can be, those in front first.

    Args:
        nodes: the texts, shape (2, rows).
        room: how many rows there is room for, by the number of the text, for each column; what is taken is taken off.
    """
    _, first, pair = np.unique(nodes[0].astype(np.int64) << 32 | nodes[1], return_index=True, return_inverse=True)
    taken = np.zeros(len(first), np.int64)
    left = np.arange(nodes.shape[1])
    while len(left):
        fits = np.ones(len(left), bool)
        for side, of_text in zip(nodes[:, left], room, strict=True):
            order, place, _ = in_groups(side.reshape(1, -1))
            fits[order] &= place < of_text[side[order]]
        for side, of_text in zip(nodes[:, left[fits]], room, strict=True):
            np.subtract.at(of_text, side, 1)
        np.add.at(taken, pair[left[fits]], 1)
        left = left[~fits]
        left = left[(room[0][nodes[0, left]] > 0) & (room[1][nodes[1, left]] > 0)]
    texts, waiting = nodes[:, first], np.bincount(pair, minlength=len(first)) - taken
    while _more(texts, waiting, taken, room):
        pass
    order, place, _ = in_groups(pair.astype(np.int32).reshape(1, -1))
    found = np.zeros(len(pair), bool)
    found[order] = place < taken[pair[order]]
    return found


def _more(nodes: Nodes, waiting: Counts, taken: Counts, room: list[Counts]) -> bool:
    """Take more rows on the shortest ways on which that can be done, and return whether there was one.

    A way leads from a text of the first column that has room to one of the second that has room, by rows that wait and
    come in, and in between by rows that are taken and go out. When there is none, no choice has more rows (Ford and
    Fulkerson). Ways from different texts have nothing in common, because each text is reached from one.

    Args:
        nodes: the two texts of each pair, shape (2, pairs).
        waiting: rows of each pair that are not taken, shape (pairs,).
        taken: rows of each pair that are, shape (pairs,), changed here.
        room: how many rows there is room for, by the number of the text, for each column, changed here.
    """
    one, two = nodes
    is_reached = [room[0] > 0, np.zeros(len(room[1]), bool)]
    by = [np.full(len(of_text), -1) for of_text in room]
    while True:
        steps = np.flatnonzero((waiting > 0) & is_reached[0][one] & ~is_reached[1][two])
        if not len(steps):
            return False
        by[1][two[steps]] = steps
        is_reached[1][two[steps]] = True
        ends = np.unique(two[steps][room[1][two[steps]] > 0])
        if len(ends):
            break
        steps = np.flatnonzero((taken > 0) & is_reached[1][two] & ~is_reached[0][one])
        by[0][one[steps]] = steps
        is_reached[0][one[steps]] = True
    # All of these ways are of the same length.
    coming, going = [by[1][ends]], []
    while (back := by[0][one[coming[-1]]]).max() >= 0:
        going.append(back)
        coming.append(by[1][two[back]])
    starts, first = np.unique(one[coming[-1]], return_index=True)
    coming, going, ends = [step[first] for step in coming], [step[first] for step in going], ends[first]
    rows = np.min([room[0][starts], room[1][ends], *(waiting[s] for s in coming), *(taken[s] for s in going)], axis=0)
    for steps, sign in [(steps, 1) for steps in coming] + [(steps, -1) for steps in going]:
        taken[steps] += sign * rows
        waiting[steps] -= sign * rows
    room[0][starts] -= rows
    room[1][ends] -= rows
    return True


def in_groups(keys: NDArray[np.int32]) -> tuple[Counts, Counts, Counts]:
    """Sort each part by the key.

    Args:
        keys: shape (parts, keys).

    Returns:
        The positions in all parts together, and for each of them how far it is into its key and how many have that key
        in its part, all of shape (parts * keys,).
    """
    # By key and position in one number, which is faster than a stable sort by the key.
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
