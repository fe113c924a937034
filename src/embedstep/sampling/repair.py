"""Repair batches with repeated texts by removing rows and placing others, and fill batches one by one."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Rows, without
from embedstep.sampling.texts import NOTHING, Ids, Texts

_ROUNDS = 40
_TRIES_PER_HOLE = 8
_EXCHANGES = 40
_IDLE_ROUNDS = 6
_TRIES_PER_EXCHANGE = 64
_MAX_EXCHANGES = 4096
_MAX_HOLES = 0.02
"""Largest share of empty places for which exchanges are tried; with more they take long and do not help."""
_WINDOW_BATCHES = 4
_COMPACT_AFTER = 8


class BatchTable:
    """Unfinished batches: places with rows, and the texts of each batch.

    Attributes:
        places: the row at each place, NOTHING for a hole, shape (places,).
        pool: the rows without a place.
    """

    def __init__(self, texts: Texts, places: Rows, batches: NDArray[np.int32], random: np.random.RandomState) -> None:
        """Remove the rows that share a text with an earlier row of their batch.

        Args:
            texts: the texts.
            places: the row at each place, NOTHING for a hole, shape (places,).
            batches: the batch of each place, shape (places,).
            random: source of the rows and places that are tried.
        """
        self._texts = texts
        self._random = random
        self._batches = batches
        self.places = places.copy()
        self._held = self._remove_collisions()
        self.pool = without(texts.rows, self.places[self.places != NOTHING])

    def repair(self) -> None:
        """Place rows of the pool into holes, if few remain also in exchange for a placed row that fits elsewhere."""
        self._run_rounds(self._fill, _ROUNDS)
        if self._placeable() <= _MAX_HOLES * len(self.places):
            self._run_rounds(self._exchange, _EXCHANGES)

    def _placeable(self) -> int:
        """Return the number of holes or of rows without a place, whichever is smaller."""
        return min(int((self.places == NOTHING).sum()), len(self.pool))

    def _run_rounds(self, step: Callable[[NDArray[np.int64]], None], rounds: int) -> None:
        """Call `step` with the holes until all are filled, the pool is empty, or several rounds filled none."""
        idle, before = 0, -1
        for _ in range(rounds):
            holes = np.flatnonzero(self.places == NOTHING)
            idle = idle + 1 if len(holes) == before else 0
            if not len(holes) or not len(self.pool) or idle == _IDLE_ROUNDS:
                break
            before = len(holes)
            step(self._random.permutation(holes))

    def _remove_collisions(self) -> NDArray[np.int64]:
        """Remove rows that share a text with an earlier row of their batch; return the keys of the others, sorted."""
        filled = np.flatnonzero(self.places != NOTHING)
        # Sorted by row, too, so that one of two rows that share two texts stays.
        keys, owners = _in_order(*self._texts.keys(self.places[filled], self._batches[filled]), len(filled))
        is_out = np.zeros(len(filled), bool)
        is_out[owners[1:][keys[1:] == keys[:-1]]] = True
        self.places[filled[is_out]] = NOTHING
        kept: NDArray[np.int64] = keys[~is_out[owners]]
        return kept

    def _is_held(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        if not len(self._held):
            return np.zeros(len(keys), bool)
        found: NDArray[np.bool_] = (
            self._held[np.minimum(np.searchsorted(self._held, keys), len(self._held) - 1)] == keys
        )
        return found

    def _add(self, rows: Rows, batches: NDArray[np.int32]) -> None:
        keys = np.sort(self._texts.keys(rows, batches)[0])
        self._held = np.insert(self._held, np.searchsorted(self._held, keys), keys)

    def _fill(self, holes: NDArray[np.int64]) -> None:
        """Place rows of the pool into holes of batches that have none of their texts."""
        tries = min(len(self.pool), _TRIES_PER_HOLE * len(holes))
        candidates = (self._random.randint(len(self.pool)) + np.arange(tries)) % len(self.pool)
        holes = holes[np.arange(tries) % len(holes)]
        rows, batches = self.pool[candidates], self._batches[holes]
        keys, owners = self._texts.keys(rows, batches)
        fits = np.ones(tries, bool)
        fits[owners[self._is_held(keys)]] = False
        chosen = np.flatnonzero(fits)
        chosen = chosen[np.unique(holes[chosen], return_index=True)[1]]
        # Of new rows that share a text in one batch, one is placed.
        keys, owners = self._texts.keys(rows[chosen], batches[chosen])
        first = np.unique(keys, return_index=True)[1]
        collides = np.ones(len(keys), bool)
        collides[first] = False
        chosen = np.delete(chosen, owners[collides])
        self.places[holes[chosen]] = rows[chosen]
        self._add(rows[chosen], batches[chosen])
        self.pool = np.delete(self.pool, candidates[chosen])

    def _exchange(self, holes: NDArray[np.int64]) -> None:
        """Move a row of another batch into a hole, and place a row of the pool in its stead."""
        tries = _TRIES_PER_EXCHANGE * min(self._placeable(), _MAX_EXCHANGES)
        holes = holes[np.arange(tries) % len(holes)]
        candidates = self._random.randint(len(self.pool), size=tries)
        places = self._random.randint(len(self.places), size=tries)
        incoming, moving = self.pool[candidates], self.places[places]
        fits = (moving != NOTHING) & (self._batches[places] != self._batches[holes])
        fits[self._owners_of_held(moving, self._batches[holes])] = False
        keys, owners = self._texts.keys(incoming, self._batches[places])
        # A text that only the moving row has in this batch is free afterwards.
        text = keys % self._texts.size
        leaves = (self._texts.ids[:, moving[owners]] == text).any(axis=0)
        fits[owners[self._is_held(keys) & ~leaves]] = False
        chosen = np.flatnonzero(fits)
        for field in (self._batches[holes], self._batches[places], candidates):
            chosen = chosen[np.unique(field[chosen], return_index=True)[1]]
        chosen = chosen[~np.isin(self._batches[places[chosen]], self._batches[holes[chosen]])]
        holes, places, candidates = holes[chosen], places[chosen], candidates[chosen]
        gone = np.sort(self._texts.keys(moving[chosen], self._batches[places])[0])
        self._held = np.delete(self._held, np.searchsorted(self._held, gone))
        self.places[holes], self.places[places] = moving[chosen], incoming[chosen]
        self._add(moving[chosen], self._batches[holes])
        self._add(incoming[chosen], self._batches[places])
        self.pool = np.delete(self.pool, candidates)

    def _owners_of_held(self, rows: Rows, batches: NDArray[np.int32]) -> NDArray[np.int64]:
        keys, owners = self._texts.keys(rows, batches)
        return owners[self._is_held(keys)]


def _in_order(
    keys: NDArray[np.int64], owners: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort by key, then by owner (below `count`); packed into one integer, which is faster, if that has enough bits."""
    if len(keys) and int(keys.max()) < 2**62 // count:
        both = np.sort(keys * count + owners)
        keys = both // count
        return keys, both - keys * count
    order = np.lexsort((owners, keys))
    return keys[order], owners[order]


def fill_one_by_one(ids: Ids, rows: Rows, size: int, random: np.random.RandomState) -> NDArray[np.int32]:
    """Fill batches one by one until no full one can be built. Shape (batches, size).

    Rows that combine a frequent with a rare text go first: if frequent texts were used up together, the rows of the
    rare ones would have no frequent text left to combine with.

    Args:
        ids: id of the text in each column and row, NOTHING for none.
        rows: the rows to use.
        size: rows of a batch.
        random: source of the order.
    """
    pool, left = random.permutation(rows), len(rows)
    is_there = np.zeros(ids.shape[1], bool)
    is_there[rows] = True
    counts = np.bincount(ids[:, rows].reshape(-1) + 1)
    last_batch = np.full(len(counts), -1)
    batches: list[Rows] = []
    near = far = _WINDOW_BATCHES * size
    while left >= size:
        batch: Rows = pool[:0]
        # First the oldest rows and a window that moves on with each batch; then all rows.
        for part in (np.concatenate([pool[:near], pool[far : far + near]]), pool):
            candidates = part[is_there[part] & ~_has_text(last_batch, ids[:, part], len(batches))]
            of_candidates = counts[ids[:, candidates] + 1]
            spread = of_candidates.max(axis=0) - of_candidates.min(axis=0)
            candidates = candidates[np.argsort(-spread, kind="stable")]
            while len(batch) < size and len(candidates):
                chosen = candidates[_is_first(ids[:, candidates])][: size - len(batch)]
                batch = np.concatenate([batch, chosen])
                is_there[chosen] = False
                last_batch[ids[:, chosen] + 1] = len(batches)
                last_batch[0] = -1
                candidates = candidates[is_there[candidates] & ~_has_text(last_batch, ids[:, candidates], len(batches))]
            if len(batch) == size:
                break
        if len(batch) < size:
            break
        batches.append(batch)
        left -= size
        np.subtract.at(counts, ids[:, batch].reshape(-1) + 1, 1)
        far = far + near if far + near < len(pool) else near
        if len(batches) % _COMPACT_AFTER == 0:
            pool = pool[is_there[pool]]
    return np.array(batches, np.int32).reshape(len(batches), size)


def _has_text(last_batch: NDArray[np.int64], ids: Ids, batch: int) -> NDArray[np.bool_]:
    """Return for each row whether the batch already has one of its texts."""
    has_text: NDArray[np.bool_] = (last_batch[ids + 1] == batch).any(axis=0)
    return has_text


def _is_first(ids: Ids) -> NDArray[np.bool_]:
    """Return for each row whether it shares no text with an earlier row."""
    rows = np.arange(ids.shape[1])
    _, texts = np.unique(ids, return_inverse=True)
    texts = texts.reshape(ids.shape)
    first = np.full(texts.max(initial=0) + 1, ids.shape[1])
    for column in texts:
        np.minimum.at(first, column, rows)
    is_first: NDArray[np.bool_] = ((first[texts] == rows) | (ids == NOTHING)).all(axis=0)
    return is_first
