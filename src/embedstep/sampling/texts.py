"""The texts that stand in several rows of a dataset, and how many batches they allow."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Rows

Ids = NDArray[np.int32]
NOTHING = np.int32(-1)


@dataclass(frozen=True)
class Texts:
    """The texts of a dataset that stand in several rows, and the lines in which they are dealt out.

    Attributes:
        ids: number of the text in each column and row, shape (columns, rows), NOTHING where a text is in no other row.
            Columns without a text that repeats are left out.
    """

    ids: Ids

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.ids.shape[1])

    @cached_property
    def size(self) -> int:
        """One more than the largest number of a text."""
        return int(self.ids.max(initial=NOTHING)) + 1

    @cached_property
    def lines(self) -> tuple["Line", ...]:
        """The line of each column."""
        return tuple(map(Line, self.ids))

    def of(self, rows: Rows) -> "Texts":
        """Return the texts of some rows, which are numbered anew from 0."""
        return texts_of(self.ids[:, rows])

    def keys(self, rows: Rows, groups: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a number for each text in each group of rows, and whose it is; a text counts once in its own row.

        Args:
            rows: row numbers.
            groups: number of the group of each row, same shape as `rows`.

        Returns:
            The numbers, equal where a group has a text in several rows, and the positions in `rows` that they are of.
        """
        keys, owners = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for number, column in enumerate(self.ids):
            ids = column[rows]
            is_new = ids != NOTHING
            for earlier in self.ids[:number]:
                is_new &= ids != earlier[rows]
            owner = np.flatnonzero(is_new)
            keys.append(groups[owner].astype(np.int64) * self.size + ids[owner])
            owners.append(owner)
        return np.concatenate(keys), np.concatenate(owners)

    def most_batches(self, size: int) -> int:
        """Return a number of full batches that no arrangement exceeds: the optimum of the scarcest column."""
        return min([line.full_batches(size) for line in self.lines], default=self.rows // size)

    def most_constrained(self, size: int) -> int:
        """Return the column that allows the fewest full batches."""
        return int(np.argmin([line.full_batches(size) for line in self.lines]))

    def fewest_batches(self, size: int) -> int:
        """Return a number of full batches that `arrange` always reaches.

        It is the optimum over the rows that share no text with an earlier row, unless in the scarcest column.
        """
        return self.most_batches(size) if len(self.ids) < 2 else self.apart(size)[0].most_batches(size)

    def apart(self, size: int) -> tuple["Texts", Rows]:
        """Return the rows that share no text with an earlier one, unless in the scarcest column, and their numbers."""
        most_constrained = self.most_constrained(size)
        stands_elsewhere = np.zeros(self.size + 1, bool)
        stands_elsewhere[np.delete(self.ids, most_constrained, axis=0)] = True
        stands_elsewhere[NOTHING] = False
        first = np.full(self.size, self.rows, np.int32)
        for column in self.ids:
            np.minimum.at(first, column[column != NOTHING], np.flatnonzero(column != NOTHING).astype(np.int32))
        keep = np.ones(self.rows, bool)
        for column in self.ids:
            number = np.flatnonzero(stands_elsewhere[column])
            keep[number[first[column[number]] < number]] = False
        kept = np.flatnonzero(keep).astype(np.int32)
        return texts_of(self.ids[most_constrained : most_constrained + 1, kept]), kept


@dataclass(frozen=True)
class Line:
    """The rows of one column, those with the same text side by side.

    Attributes:
        ids: number of the text of each row, NOTHING where it is in no other row, shape (rows,).
    """

    ids: Ids

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Rows of each text, shape (texts,)."""
        times = np.bincount(self.ids[self.ids != NOTHING])
        return times[times > 0].astype(np.int32)

    @property
    def starts(self) -> NDArray[np.int32]:
        """Where each text begins in `rows`, shape (texts,)."""
        return np.cumsum(self.lengths, dtype=np.int32) - self.lengths

    @cached_property
    def rows(self) -> Rows:
        """The rows whose text repeats. For the number of batches they need not be sorted."""
        rows = np.flatnonzero(self.ids != NOTHING).astype(np.int32)
        # By text and row in one number, which is several times as fast as a stable sort by the text.
        both = self.ids[rows].astype(np.int64)
        both <<= 32
        both |= rows
        both.sort()
        both &= 2**32 - 1
        return both.astype(np.int32)

    @cached_property
    def free(self) -> Rows:
        """The rows whose text is in no other row."""
        return np.flatnonzero(self.ids == NOTHING).astype(np.int32)

    @cached_property
    def texts_with(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many rows texts have, and how many texts have so many."""
        times = np.bincount(self.lengths)
        lengths = np.flatnonzero(times)
        return lengths, times[lengths]

    def full_batches(self, size: int) -> int:
        """Return the largest M with sum(min(multiplicity, M)) >= M * size."""
        lengths, times = self.texts_with
        free, (low, high) = len(self.ids) - int(lengths @ times), (0, len(self.ids) // size)
        while low < high:
            middle = (low + high + 1) // 2
            if free + int(np.minimum(lengths, middle) @ times) >= middle * size:
                low = middle
            else:
                high = middle - 1
        return low

    def dealt(self, batches: int, random: np.random.RandomState, turn: int) -> Rows:
        """Return all rows in a random order of texts, at most `batches` of each, and then those that are free.

        Args:
            batches: rows of one text that are taken.
            random: source of the order.
            turn: how many times rows were taken before: of a text with more rows, the next ones are.
        """
        order = random.permutation(len(self.lengths))
        lengths = self.lengths[order]
        taken = np.minimum(lengths, batches)
        # For each place: how far it is into its text, moved on by what earlier turns have taken.
        ends = np.cumsum(taken, dtype=np.int64)
        place = np.arange(len(self.rows) if batches >= lengths.max(initial=0) else int(taken.sum()), dtype=np.int64)
        moved = turn * taken.astype(np.int64) - (ends - taken)
        place = (place + np.repeat(moved, taken)) % np.repeat(lengths, taken) + np.repeat(self.starts[order], taken)
        return np.concatenate([self.rows[place], random.permutation(self.free)])

    def most_left(self, batches: int, size: int) -> int:
        """Return the smallest t for which full batches can leave at most t rows of each text.

        They take at least m - t of the m rows of a text, and a text at most once each.

        Args:
            batches: number of full batches, at most `full_batches`.
            size: rows of a batch.
        """
        if len(self.ids) == batches * size:
            return 0
        lengths, times = self.texts_with
        # A row that is free may be left from here on.
        low = max(int(self.lengths.max(initial=0)) - batches, 1)
        high = max(int(self.lengths.max(initial=0)), low)
        while low < high:
            middle = (low + high) // 2
            if int(np.maximum(lengths - middle, 0) @ times) <= batches * size:
                high = middle
            else:
                low = middle + 1
        return low

    def divided(self, batches: int, size: int, random: np.random.RandomState) -> tuple[Rows, Rows]:
        """Return the rows for full batches and those left over, at most `most_left` of each text.

        Both in a random order of texts, the rows of a text side by side.

        Args:
            batches: number of full batches, at most `full_batches`.
            size: rows of a batch.
            random: source of the order, and of the rows that are left over.
        """
        rows = np.concatenate([self.rows, self.free])
        order = random.permutation(len(self.lengths) + len(self.free))
        lengths = np.append(self.lengths, np.ones(len(self.free), np.int32))[order]
        starts = np.append(self.starts, np.arange(len(self.rows), len(rows), dtype=np.int32))[order]
        left = np.maximum(lengths - batches, 0)
        more = np.repeat(np.arange(len(order)), np.minimum(lengths, self.most_left(batches, size)) - left)
        chosen = random.permutation(more)[: len(rows) - batches * size - left.sum()]
        left += np.bincount(chosen, minlength=len(order))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        is_left = place < np.repeat(left, lengths)
        moved = (place + np.repeat(random.randint(lengths), lengths)) % np.repeat(lengths, lengths)
        found = rows[moved + np.repeat(starts, lengths)]
        return found[~is_left], found[is_left]


def texts_of(ids: Ids) -> Texts:
    """Return the texts of a dataset.

    Args:
        ids: number of the text in each column and row, shape (columns, rows), 0 or more; the same text has the same
            number in all columns. NOTHING where there is none.
    """
    rows_with = np.zeros(int(ids.max(initial=NOTHING)) + 1, np.int32)
    for number, column in enumerate(ids):
        is_new = column != NOTHING
        for earlier in ids[:number]:
            is_new &= column != earlier
        np.add.at(rows_with, column[is_new], np.int32(1))
    repeats = np.append(rows_with > 1, False)
    kept = [np.where(repeats[column], column, NOTHING) for column in ids if repeats[column].any()]
    return Texts(np.array(kept, np.int32).reshape(len(kept), ids.shape[1]))
