"""Batches in which no text stands in two rows: as many as there can be, by dealing rows out by their texts.

Rows that share a text are neighbours in a long line, and the line is dealt out like cards: row k goes to batch
k mod M. A text of at most M rows is then at most once in each of the M batches. For one column of texts the greatest M
is the largest with sum(min(multiplicity, M)) >= M * size, because M batches take no text more than M times. Rows of a
text beyond M wait, and take turns from epoch to epoch.

Where several columns repeat, the line is that of the scarcest one. Rows that meet in another column are taken out and
put where they fit: at random first, then in exchange for a row of another batch. Where so many meet that this leaves
holes, batches are filled one after the other instead, and whatever gives more full batches is taken. Their number lies
between `fewest_batches` and `most_batches`.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Batches, Rows, cut, even, joined, without
from embedstep.sampling.mending import Table, one_by_one
from embedstep.sampling.texts import NOTHING, Texts

_ALMOST_ALL = 0.95
"""Share of the most batches from which no other way is tried."""


def arrange(texts: Texts, size: int, *, drop_last: bool, random: np.random.RandomState, turn: int = 0) -> Batches:
    """Return batches of `size` rows, none of which has a text in two rows.

    Args:
        texts: the texts.
        size: rows of a batch.
        drop_last: leave out the rows that fill no batch; otherwise they follow in smaller batches.
        random: source of the order.
        turn: epoch; rows of a text that is in more rows than there are batches take turns by it.
    """
    table = _full(texts, size, random, turn)
    if len(table) < texts.most_batches(size) and len(table) < texts.fewest_batches(size):
        apart, rows = texts.apart(size)
        table = rows[_full(apart, size, random, turn)]
    full = even(table[random.permutation(len(table))][:, random.permutation(size)])
    if drop_last or full.rows.size == texts.rows:
        return full
    return joined([full, *_smaller(texts, without(texts.rows, table), size, random)])


def _full(texts: Texts, size: int, random: np.random.RandomState, turn: int) -> NDArray[np.int32]:
    """Return full batches, shape (batches, size)."""
    batches = texts.most_batches(size)
    if not len(texts.ids):
        line = random.permutation(np.arange(texts.rows, dtype=np.int32))
    else:
        line = texts.lines[texts.scarcest(size)].dealt(batches, random, turn)
    table: NDArray[np.int32] = line[: batches * size].reshape(size, batches).T
    if len(texts.ids) < 2 or not batches:
        return table
    mended = Table(texts, table, random).mended()
    table = mended[(mended != NOTHING).all(axis=1)]
    if len(table) == batches:
        return table
    table = np.concatenate([table, one_by_one(texts.ids, without(texts.rows, table), size, random)])
    if len(table) >= _ALMOST_ALL * batches:
        return table
    other = one_by_one(texts.ids, np.arange(texts.rows, dtype=np.int32), size, random)
    return table if len(table) >= len(other) else other


def _smaller(texts: Texts, left: Rows, size: int, random: np.random.RandomState) -> Iterator[Batches]:
    """Yield batches of at most `size` rows that take all of `left`, the larger ones first."""
    while len(left):
        part = texts.of(left)
        if not len(part.ids):
            yield cut(random.permutation(left), size, drop_last=False)
            return
        longest = [line.lengths.max() for line in part.lines]
        batches = max(-(-len(left) // size), int(max(longest)))
        line = part.lines[int(np.argmax(longest))].dealt(batches, random, 0)
        places = np.full(batches * size, NOTHING)
        places[: len(line)] = line
        table = places.reshape(size, batches).T
        if len(part.ids) > 1:
            table = Table(part, table, random).filled()
        sizes = (table != NOTHING).sum(axis=1)
        table = table[np.argsort(-sizes, kind="stable")]
        yield joined(
            [Batches(rows=left[row[row != NOTHING]], starts=np.array([0, (row != NOTHING).sum()])) for row in table]
        )
        left = left[without(len(left), table[table != NOTHING])]
