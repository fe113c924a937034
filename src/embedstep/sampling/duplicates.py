"""Batches in which no text stands in two rows: as many as there can be, by dealing rows out by their texts.

Rows that share a text are neighbours in a long line, and the line is dealt out like cards: row k goes to batch
k mod M. A text of at most M rows is then at most once in each of the M batches. For one column of texts the greatest M
is the largest with sum(min(multiplicity, M)) >= M * size, because M batches take no text more than M times. Rows of a
text beyond M wait, and take turns from epoch to epoch.

Where several columns repeat, the line is that of the scarcest one. Rows that meet in another column are taken out and
put where they fit: at random first, then in exchange for a row of another batch. That is fast, and does where texts are
many. Where it leaves holes, the batches of two columns are made by halving, which gives as many as there can be unless
a text stands in both or a third column repeats as much. Then they are mended, or filled one after the other. Their
number lies between `fewest_batches` and `most_batches`. Rows of two texts that are both too frequent cost the place of
two others; those take turns that the last rows, which fill no batch, leave room for.

Rows that fill no batch may follow in smaller ones. Those are never fewer than the rows that are left over of one text,
so full batches are dealt such that little is left of each. For one column of texts the number of all batches is then
the least that there can be beside so many full ones, and the same in each epoch.
"""

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Batches, Rows, dealt, even, gathered, joined, without
from embedstep.sampling.euler_split import in_batches, rows_for
from embedstep.sampling.repair import Table, one_by_one
from embedstep.sampling.row_selection import Nodes
from embedstep.sampling.texts import NOTHING, Texts

_ALMOST_ALL = 0.95
"""Share of the batches that two columns allow, from which those that are found are kept and others added."""


def arrange(texts: Texts, size: int, *, drop_last: bool, random: np.random.RandomState, turn: int = 0) -> Batches:
    """Return batches of `size` rows, none of which has a text in two rows.

    Args:
        texts: the texts.
        size: rows of a batch.
        drop_last: leave out the rows that fill no batch; otherwise they follow in smaller batches.
        random: source of the order.
        turn: epoch; rows of a text that is in more rows than there are batches take turns by it.
    """
    table = _full(texts, size, random, turn if drop_last else None)
    if len(table) < texts.most_batches(size) and len(table) < texts.fewest_batches(size):
        apart, rows = texts.apart(size)
        table = rows[_full(apart, size, random, turn)]
    table, smaller = (table, []) if drop_last else _with_smaller(texts, table, random)
    return joined([even(table[random.permutation(len(table))][:, random.permutation(size)]), *smaller])


def _full(texts: Texts, size: int, random: np.random.RandomState, turn: int | None) -> NDArray[np.int32]:
    """Return full batches, shape (batches, size); without a turn, what they leave over is easy to put together."""
    batches = texts.most_batches(size)
    if not len(texts.ids):
        line = random.permutation(np.arange(texts.rows, dtype=np.int32))
    elif turn is None:
        line, _ = texts.lines[texts.most_constrained(size)].divided(batches, size, random)
    else:
        line = texts.lines[texts.most_constrained(size)].dealt(batches, random, turn)
    table: NDArray[np.int32] = line[: batches * size].reshape(size, batches).T
    if len(texts.ids) < 2 or not batches:
        return table
    table = _mended(texts, table, random)
    return table if len(table) == batches else _by_other_ways(texts, table, random, turn)


def _by_other_ways(
    texts: Texts, table: NDArray[np.int32], random: np.random.RandomState, turn: int | None
) -> NDArray[np.int32]:
    """Return more full batches, if more are found, than those that were dealt and mended, shape (batches, size)."""
    size = table.shape[1]
    nodes, rows = _scarcest_pair(texts, size, random, random.randint(texts.rows) if turn is None else turn)
    table = max(table, _mended(texts, in_batches(nodes, rows, size, random), random), key=len)
    most = len(rows) // size
    if len(table) == most:
        return table
    kept = table if len(table) >= _ALMOST_ALL * most else table[:0]
    more = one_by_one(texts.ids, without(texts.rows, kept), size, random)
    return max(table, np.concatenate([kept, more]), key=len)


def _scarcest_pair(texts: Texts, size: int, random: np.random.RandomState, turn: int) -> tuple[Nodes, Rows]:
    """Return the texts of the scarcest column and of the one that leaves it the fewest batches, and rows for those."""
    most, most_constrained = texts.most_batches(size), texts.most_constrained(size)
    pairs = [texts.ids[[most_constrained, other]] + 1 for other in range(len(texts.ids)) if other != most_constrained]
    found = ((nodes, rows_for(nodes, most, size, random, turn)) for nodes in pairs)
    return min(found, key=lambda pair: len(pair[1]))


def _mended(texts: Texts, table: NDArray[np.int32], random: np.random.RandomState) -> NDArray[np.int32]:
    """Return the full batches that are left of the table's after rows that meet were taken out and others put in."""
    batches, size = table.shape
    under_way = Table(texts, table.reshape(-1), np.repeat(np.arange(batches, dtype=np.int32), size), random)
    under_way.mend()
    mended = under_way.places.reshape(table.shape)
    full: NDArray[np.int32] = mended[(mended != NOTHING).all(axis=1)]
    return full


def _with_smaller(
    texts: Texts, table: NDArray[np.int32], random: np.random.RandomState
) -> tuple[NDArray[np.int32], list[Batches]]:
    """Return full batches, and the rows that they leave over in smaller batches, the larger ones first.

    Where several columns repeat, a row that fits into none of the smaller batches may change places with one of a full
    batch that does. What is left then goes into further batches.

    Args:
        texts: the texts.
        table: full batches, shape (batches, size).
        random: source of the order.
    """
    full, size = table.shape
    left = without(texts.rows, table)
    count = max([-(-len(left) // size), *(line.most_left(full, size) for line in texts.lines)])
    if len(texts.ids) < 2 or not count:
        return table, [dealt(_side_by_side(texts, left, random), count)] if count else []
    places, batch_of = table.reshape(-1), np.repeat(np.arange(full, dtype=np.int32), size)
    while len(left):
        more = np.full(count * min(size, 2 * -(-len(left) // count)), NOTHING)
        more[: len(left)] = _side_by_side(texts, left, random)
        places = np.append(places, more)
        first = batch_of.max(initial=-1) + 1
        batch_of = np.append(batch_of, first + np.arange(len(more), dtype=np.int32) % count)
        under_way = Table(texts, places, batch_of, random)
        under_way.mend()
        places, left = under_way.places, under_way.pool
        count = -(-len(left) // size)
    is_smaller = (places != NOTHING) & (batch_of >= full)
    return places[: full * size].reshape(full, size), [gathered(places[is_smaller], batch_of[is_smaller] - full)]


def _side_by_side(texts: Texts, rows: Rows, random: np.random.RandomState) -> Rows:
    """Return rows in a random order, those that share a text side by side: of the column with the most frequent one."""
    lines = texts.of(rows).lines
    if not lines:
        return random.permutation(rows)
    return rows[max(lines, key=lambda line: int(line.lengths.max())).dealt(len(rows), random, 0)]
