"""Batches in which texts of several columns meet, taken apart and put together again."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Rows, without
from embedstep.sampling.texts import NOTHING, Ids, Texts

_ROUNDS = 40
_TRIES_OF_A_HOLE = 8
_EXCHANGES = 40
_IDLE_ROUNDS = 6
_TRIES_OF_AN_EXCHANGE = 64
_MOST_EXCHANGED = 4096
_MOST_HOLES = 0.02
"""Share of places that exchanges are tried for; with more of them they take long and do not help."""
_LOOKED_AT = 4
_TIDIED_AFTER = 8


class Table:
    """Batches under way: places with rows, and the text that each batch holds.

    Attributes:
        places: the row at each place, NOTHING for a hole, shape (places,).
        pool: the rows that have no place.
    """

    def __init__(self, texts: Texts, places: Rows, batches: NDArray[np.int32], random: np.random.RandomState) -> None:
        """Take out the rows that meet one before them.

        Args:
            texts: the texts.
            places: the row at each place, NOTHING for a hole, shape (places,).
            batches: the batch that each place belongs to, shape (places,).
            random: source of what is tried.
        """
        self._texts = texts
        self._random = random
        self._batches = batches
        self.places = places.copy()
        self._taken = self._take_out_meetings()
        self.pool = without(texts.rows, self.places[self.places != NOTHING])

    def mend(self) -> None:
        """Put rows of the pool into holes where they fit, at last in exchange for others that fit there."""
        self._in_rounds(self._fill, _ROUNDS)
        if self._wanted() <= _MOST_HOLES * len(self.places):
            self._in_rounds(self._exchange, _EXCHANGES)

    def _wanted(self) -> int:
        """Return how many rows could find a place."""
        return min(int((self.places == NOTHING).sum()), len(self.pool))

    def _in_rounds(self, step: Callable[[NDArray[np.int64]], None], rounds: int) -> None:
        """Let `step` put rows into holes, until there is nothing to do or the last rounds have brought nothing."""
        idle, before = 0, -1
        for _ in range(rounds):
            holes = np.flatnonzero(self.places == NOTHING)
            idle = idle + 1 if len(holes) == before else 0
            if not len(holes) or not len(self.pool) or idle == _IDLE_ROUNDS:
                break
            before = len(holes)
            step(self._random.permutation(holes))

    def _take_out_meetings(self) -> NDArray[np.int64]:
        """Take out the rows that meet one before them, and return the keys of the others, in order."""
        filled = np.flatnonzero(self.places != NOTHING)
        # By the row as well, so that of two rows that meet twice one stays.
        keys, owners = _in_order(*self._texts.keys(self.places[filled], self._batches[filled]), len(filled))
        is_out = np.zeros(len(filled), bool)
        is_out[owners[1:][keys[1:] == keys[:-1]]] = True
        self.places[filled[is_out]] = NOTHING
        kept: NDArray[np.int64] = keys[~is_out[owners]]
        return kept

    def _is_taken(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(self._taken):
            return np.zeros(len(keys), bool)
        found: NDArray[np.bool_] = (
            self._taken[np.minimum(np.searchsorted(self._taken, keys), len(self._taken) - 1)] == keys
        )
        return found

    def _add(self, rows: Rows, batches: NDArray[np.int32]) -> None:
        keys = np.sort(self._texts.keys(rows, batches)[0])
        self._taken = np.insert(self._taken, np.searchsorted(self._taken, keys), keys)

    def _fill(self, holes: NDArray[np.int64]) -> None:
        """Put rows of the pool into holes where they meet none of their texts."""
        tries = min(len(self.pool), _TRIES_OF_A_HOLE * len(holes))
        candidates = (self._random.randint(len(self.pool)) + np.arange(tries)) % len(self.pool)
        holes = holes[np.arange(tries) % len(holes)]
        rows, batches = self.pool[candidates], self._batches[holes]
        keys, owners = self._texts.keys(rows, batches)
        fits = np.ones(tries, bool)
        fits[owners[self._is_taken(keys)]] = False
        chosen = np.flatnonzero(fits)
        chosen = chosen[np.unique(holes[chosen], return_index=True)[1]]
        # Of rows that would meet each other in one batch, one is let in.
        keys, owners = self._texts.keys(rows[chosen], batches[chosen])
        first = np.unique(keys, return_index=True)[1]
        meets = np.ones(len(keys), bool)
        meets[first] = False
        chosen = np.delete(chosen, owners[meets])
        self.places[holes[chosen]] = rows[chosen]
        self._add(rows[chosen], batches[chosen])
        self.pool = np.delete(self.pool, candidates[chosen])

    def _exchange(self, holes: NDArray[np.int64]) -> None:
        """Put a row of another batch into a hole, and a row of the pool into its place."""
        tries = _TRIES_OF_AN_EXCHANGE * min(self._wanted(), _MOST_EXCHANGED)
        holes = holes[np.arange(tries) % len(holes)]
        candidates = self._random.randint(len(self.pool), size=tries)
        places = self._random.randint(len(self.places), size=tries)
        incoming, moving = self.pool[candidates], self.places[places]
        fits = (moving != NOTHING) & (self._batches[places] != self._batches[holes])
        fits[self._owners_of_taken(moving, self._batches[holes])] = False
        keys, owners = self._texts.keys(incoming, self._batches[places])
        # What only the row that moves away would meet is no obstacle.
        text = keys % self._texts.size
        leaves = (self._texts.ids[:, moving[owners]] == text).any(axis=0)
        fits[owners[self._is_taken(keys) & ~leaves]] = False
        chosen = np.flatnonzero(fits)
        for field in (self._batches[holes], self._batches[places], candidates):
            chosen = chosen[np.unique(field[chosen], return_index=True)[1]]
        chosen = chosen[~np.isin(self._batches[places[chosen]], self._batches[holes[chosen]])]
        holes, places, candidates = holes[chosen], places[chosen], candidates[chosen]
        gone = np.sort(self._texts.keys(moving[chosen], self._batches[places])[0])
        self._taken = np.delete(self._taken, np.searchsorted(self._taken, gone))
        self.places[holes], self.places[places] = moving[chosen], incoming[chosen]
        self._add(moving[chosen], self._batches[holes])
        self._add(incoming[chosen], self._batches[places])
        self.pool = np.delete(self.pool, candidates)

    def _owners_of_taken(self, rows: Rows, batches: NDArray[np.int32]) -> NDArray[np.int64]:
        keys, owners = self._texts.keys(rows, batches)
        return owners[self._is_taken(keys)]


def _in_order(
    keys: NDArray[np.int64], owners: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort by the key and then by the owner, of which there are `count`; in one number where it is large enough."""
    if len(keys) and int(keys.max()) < 2**62 // count:
        both = np.sort(keys * count + owners)
        keys = both // count
        return keys, both - keys * count
    order = np.lexsort((owners, keys))
    return keys[order], owners[order]


def one_by_one(ids: Ids, rows: Rows, size: int, random: np.random.RandomState) -> NDArray[np.int32]:
    """Fill batches one after the other, until no full one can be found. Shape (batches, size).

    Rows go first that join a text of many rows that are left to a text of few: who spends the frequent texts together
    has none to go with the rare ones later.

    Args:
        ids: number of the text in each column and row, NOTHING for none.
        rows: the rows to take.
        size: rows of a batch.
        random: source of the order.
    """
    pool, left = random.permutation(rows), len(rows)
    is_there = np.zeros(ids.shape[1], bool)
    is_there[rows] = True
    counts = np.bincount(ids[:, rows].reshape(-1) + 1)
    last_batch = np.full(len(counts), -1)
    batches: list[Rows] = []
    near = far = _LOOKED_AT * size
    while left >= size:
        batch: Rows = pool[:0]
        # Rows that waited stand in front; behind them another part is looked at each time, and everything at last.
        for part in (np.concatenate([pool[:near], pool[far : far + near]]), pool):
            candidates = part[is_there[part] & ~_holds(last_batch, ids[:, part], len(batches))]
            of_candidates = counts[ids[:, candidates] + 1]
            spread = of_candidates.max(axis=0) - of_candidates.min(axis=0)
            candidates = candidates[np.argsort(-spread, kind="stable")]
            while len(batch) < size and len(candidates):
                chosen = candidates[_apart(ids[:, candidates])][: size - len(batch)]
                batch = np.concatenate([batch, chosen])
                is_there[chosen] = False
                last_batch[ids[:, chosen] + 1] = len(batches)
                last_batch[0] = -1
                candidates = candidates[is_there[candidates] & ~_holds(last_batch, ids[:, candidates], len(batches))]
            if len(batch) == size:
                break
        if len(batch) < size:
            break
        batches.append(batch)
        left -= size
        np.subtract.at(counts, ids[:, batch].reshape(-1) + 1, 1)
        far = far + near if far + near < len(pool) else near
        if len(batches) % _TIDIED_AFTER == 0:
            pool = pool[is_there[pool]]
    return np.array(batches, np.int32).reshape(len(batches), size)


def _holds(last_batch: NDArray[np.int64], ids: Ids, batch: int) -> NDArray[np.bool_]:
    """Whether the batch already has a text of each row."""
    held: NDArray[np.bool_] = (last_batch[ids + 1] == batch).any(axis=0)
    return held


def _apart(ids: Ids) -> NDArray[np.bool_]:
    """Whether each row shares no text with a row before it."""
    rows = np.arange(ids.shape[1])
    _, texts = np.unique(ids, return_inverse=True)
    texts = texts.reshape(ids.shape)
    first = np.full(texts.max(initial=0) + 1, ids.shape[1])
    for column in texts:
        np.minimum.at(first, column, rows)
    is_first: NDArray[np.bool_] = ((first[texts] == rows) | (ids == NOTHING)).all(axis=0)
    return is_first
