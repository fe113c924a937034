"""The largest number of batches without a repeated text.

One column. The rows are sorted by text and distributed round-robin over M batches: row k goes to batch k mod M. A text
of at most M rows is then in each batch at most once. The largest possible M is the largest number with
sum(min(multiplicity, M)) >= M * size, because M batches use no text more than M times. Of a text with more rows, each
epoch uses others.

Several columns. The round-robin follows the most constrained column. Rows that share a text of another column with a
row of their batch are removed, and placed where they fit: first at random, then in exchange for a row of another batch.
That is fast, and enough for many different texts. If places stay empty, the batches of two columns are built by Euler
splits (`euler_split`), which is optimal unless a text occurs in both columns or a third column repeats as much; then
they are repaired in the same way, or filled one by one. The number of batches is between `fewest_batches` and
`most_batches`. A row of two texts that are both too frequent costs the places of two other rows; how many of those an
epoch uses is limited by the rows that fill no batch anyway.

Smaller batches. The rows that fill no batch may follow in smaller ones. Of these there are at least as many as rows of
one text are left over, so the full batches are chosen to leave few rows of each text. For one column, the number of
smaller batches is the minimum for so many full ones, and the same in each epoch.
"""

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Batches, Rows, by_batch, even, joined, round_robin, without
from embedstep.sampling.euler_split import rows_for_batches, split_into_batches
from embedstep.sampling.repair import BatchTable, fill_one_by_one
from embedstep.sampling.row_selection import Nodes
from embedstep.sampling.texts import NOTHING, Texts

_ALMOST_ALL = 0.95
"""Share of the possible batches from which a result is extended; with fewer, all batches are built again."""


def arrange(texts: Texts, size: int, *, drop_last: bool, random: np.random.RandomState, epoch: int = 0) -> Batches:
    """Return batches of `size` rows without a repeated text.

    Args:
        texts: the texts.
        size: rows of a batch.
        drop_last: drop the rows that fill no batch; otherwise they follow in smaller batches.
        random: source of the order.
        epoch: selects the rows of texts that have more rows than there are batches.
    """
    table = _full_batches(texts, size, random, epoch if drop_last else None)
    if len(table) < texts.most_batches(size) and len(table) < texts.fewest_batches(size):
        one_column, rows = texts.one_column(size)
        table = rows[_full_batches(one_column, size, random, epoch)]
    table, smaller = (table, []) if drop_last else _with_small_batches(texts, table, random)
    return joined([even(table[random.permutation(len(table))][:, random.permutation(size)]), *smaller])


def _full_batches(texts: Texts, size: int, random: np.random.RandomState, epoch: int | None) -> NDArray[np.int32]:
    """Return full batches, shape (batches, size).

    Without an epoch the rows are chosen so that the others fit into few smaller batches.
    """
    batches = texts.most_batches(size)
    if not len(texts.ids):
        column = random.permutation(np.arange(texts.rows, dtype=np.int32))
    elif epoch is None:
        column, _ = texts.columns[texts.most_constrained(size)].split_full(batches, size, random)
    else:
        column = texts.columns[texts.most_constrained(size)].round_robin(batches, random, epoch)
    table: NDArray[np.int32] = column[: batches * size].reshape(size, batches).T
    if len(texts.ids) < 2 or not batches:
        return table
    table = _repaired(texts, table, random)
    return table if len(table) == batches else _rearranged(texts, table, random, epoch)


def _rearranged(
    texts: Texts, table: NDArray[np.int32], random: np.random.RandomState, epoch: int | None
) -> NDArray[np.int32]:
    """Return the best of the given batches, Euler splits, and batches filled one by one, shape (batches, size)."""
    size = table.shape[1]
    nodes, rows = _most_constrained_pair(texts, size, random, random.randint(texts.rows) if epoch is None else epoch)
    table = max(table, _repaired(texts, split_into_batches(nodes, rows, size, random), random), key=len)
    most = len(rows) // size
    if len(table) == most:
        return table
    kept = table if len(table) >= _ALMOST_ALL * most else table[:0]
    more = fill_one_by_one(texts.ids, without(texts.rows, kept), size, random)
    return max(table, np.concatenate([kept, more]), key=len)


def _most_constrained_pair(texts: Texts, size: int, random: np.random.RandomState, epoch: int) -> tuple[Nodes, Rows]:
    """Return the texts of the two columns that allow the fewest batches, and rows for these batches."""
    most, most_constrained = texts.most_batches(size), texts.most_constrained(size)
    pairs = [texts.ids[[most_constrained, other]] + 1 for other in range(len(texts.ids)) if other != most_constrained]
    found = ((nodes, rows_for_batches(nodes, most, size, random, epoch)) for nodes in pairs)
    return min(found, key=lambda pair: len(pair[1]))


def _repaired(texts: Texts, table: NDArray[np.int32], random: np.random.RandomState) -> NDArray[np.int32]:
    """Replace rows that share a text with another row of their batch, and return the batches that are full then."""
    batches, size = table.shape
    draft = BatchTable(texts, table.reshape(-1), np.repeat(np.arange(batches, dtype=np.int32), size), random)
    draft.repair()
    repaired = draft.places.reshape(table.shape)
    full: NDArray[np.int32] = repaired[(repaired != NOTHING).all(axis=1)]
    return full


def _with_small_batches(
    texts: Texts, table: NDArray[np.int32], random: np.random.RandomState
) -> tuple[NDArray[np.int32], list[Batches]]:
    """Put the rows that are in no full batch into smaller batches, larger ones first, and return both.

    With several columns, a row that fits into no smaller batch may change places with a row of a full batch. Rows that
    are left then go into further batches.

    Args:
        texts: the texts.
        table: full batches, shape (batches, size).
        random: source of the order.
    """
    full, size = table.shape
    left = without(texts.rows, table)
    count = max([-(-len(left) // size), *(column.fewest_left(full, size) for column in texts.columns)])
    if len(texts.ids) < 2 or not count:
        return table, [round_robin(_texts_together(texts, left, random), count)] if count else []
    places, batch_of = table.reshape(-1), np.repeat(np.arange(full, dtype=np.int32), size)
    while len(left):
        more = np.full(count * min(size, 2 * -(-len(left) // count)), NOTHING)
        more[: len(left)] = _texts_together(texts, left, random)
        places = np.append(places, more)
        first = batch_of.max(initial=-1) + 1
        batch_of = np.append(batch_of, first + np.arange(len(more), dtype=np.int32) % count)
        draft = BatchTable(texts, places, batch_of, random)
        draft.repair()
        places, left = draft.places, draft.pool
        count = -(-len(left) // size)
    is_smaller = (places != NOTHING) & (batch_of >= full)
    return places[: full * size].reshape(full, size), [by_batch(places[is_smaller], batch_of[is_smaller] - full)]


def _texts_together(texts: Texts, rows: Rows, random: np.random.RandomState) -> Rows:
    """Shuffle rows, but keep those together that share a text of the column with the most frequent text."""
    columns = texts.of(rows).columns
    if not columns:
        return random.permutation(rows)
    return rows[max(columns, key=lambda column: int(column.lengths.max())).round_robin(len(rows), random, 0)]
