"""The texts that occur in several rows of a dataset, and the number of batches that they allow."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Rows
from embedstep.sampling.search import binary_search

Ids = NDArray[np.int32]
NOTHING = np.int32(-1)


@dataclass(frozen=True)
class Texts:
    """The repeated texts of a dataset.

    Attributes:
        ids: id of the text in each column and row, shape (columns, rows), NOTHING for a text of no other row. Columns
            without a repeated text are left out.
    """

    ids: Ids

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.ids.shape[1])

    @cached_property
    def size(self) -> int:
        """The largest id plus one."""
        return int(self.ids.max(initial=NOTHING)) + 1

    @cached_property
    def columns(self) -> tuple["TextColumn", ...]:
        """The columns one by one."""
        return tuple(map(TextColumn, self.ids))

    def of(self, rows: Rows) -> "Texts":
        """Return the texts that are repeated among some rows; these are renumbered from 0."""
        return group_texts(self.ids[:, rows])

    def keys(self, rows: Rows, groups: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a key for each text of each row, which combines the text with the group of the row.

        A text that a row has in two columns gets one key.

        Args:
            rows: row numbers.
            groups: number of the group of each row, same shape as `rows`.

        Returns:
            The keys, equal if two rows of a group share a text, and the position in `rows` of each key's row.
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
        """Return an upper bound of the full batches: the optimum of the most constrained column."""
        return min([column.full_batches(size) for column in self.columns], default=self.rows // size)

    def most_constrained(self, size: int) -> int:
        """Return the index of the column that allows the fewest full batches."""
        return int(np.argmin([column.full_batches(size) for column in self.columns]))

    def fewest_batches(self, size: int) -> int:
        """Return a lower bound of the full batches, which `arrange` always reaches.

        It is the optimum over the rows that share texts with earlier rows in the most constrained column only.
        """
        return self.most_batches(size) if len(self.ids) < 2 else self.one_column(size)[0].most_batches(size)

    def one_column(self, size: int) -> tuple["Texts", Rows]:
        """Return the texts and numbers of the rows that share texts in the most constrained column only.

        Of rows that share a text in another column, the first one stays.
        """
        most_constrained = self.most_constrained(size)
        is_elsewhere = np.zeros(self.size + 1, bool)
        is_elsewhere[np.delete(self.ids, most_constrained, axis=0)] = True
        is_elsewhere[NOTHING] = False
        first = np.full(self.size, self.rows, np.int32)
        for column in self.ids:
            np.minimum.at(first, column[column != NOTHING], np.flatnonzero(column != NOTHING).astype(np.int32))
        keep = np.ones(self.rows, bool)
        for column in self.ids:
            number = np.flatnonzero(is_elsewhere[column])
            keep[number[first[column[number]] < number]] = False
        kept = np.flatnonzero(keep).astype(np.int32)
        return group_texts(self.ids[most_constrained : most_constrained + 1, kept]), kept


@dataclass(frozen=True)
class TextColumn:
    """One column of texts, and its rows grouped by text.

    Attributes:
        ids: id of the text of each row, NOTHING for a text of no other row, shape (rows,).
    """

    ids: Ids

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Number of rows of each text, shape (texts,)."""
        times = np.bincount(self.ids[self.ids != NOTHING])
        return times[times > 0].astype(np.int32)

    @property
    def starts(self) -> NDArray[np.int32]:
        """Index in `rows` of the first row of each text, shape (texts,)."""
        return np.cumsum(self.lengths, dtype=np.int32) - self.lengths

    @cached_property
    def rows(self) -> Rows:
        """The rows with a repeated text, sorted by text."""
        rows = np.flatnonzero(self.ids != NOTHING).astype(np.int32)
        # Sorting text and row packed into one integer is several times as fast as a stable sort by text.
        both = self.ids[rows].astype(np.int64)
        both <<= 32
        both |= rows
        both.sort()
        both &= 2**32 - 1
        return both.astype(np.int32)

    @cached_property
    def free(self) -> Rows:
        """The rows without a repeated text."""
        return np.flatnonzero(self.ids == NOTHING).astype(np.int32)

    @cached_property
    def size_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The different numbers of rows of a text, and the number of texts with each of them."""
        times = np.bincount(self.lengths)
        lengths = np.flatnonzero(times)
        return lengths, times[lengths]

    def full_batches(self, size: int) -> int:
        """Return the largest M with sum(min(multiplicity, M)) >= M * size."""
        lengths, times = self.size_counts
        free = len(self.ids) - int(lengths @ times)

        def are_filled(batches: int) -> bool:
            return free + int(np.minimum(lengths, batches) @ times) >= batches * size

        return binary_search(0, len(self.ids) // size, are_filled)

    def round_robin(self, batches: int, random: np.random.RandomState, epoch: int) -> Rows:
        """Return at most `batches` rows of each text, in a random order of texts, followed by the free rows.

        Args:
            batches: the most rows of one text.
            random: source of the order.
            epoch: selects the rows of a text that has more of them; the next epoch continues where this one ends.
        """
        order = random.permutation(len(self.lengths))
        lengths = self.lengths[order]
        taken = np.minimum(lengths, batches)
        # The index of each place within its text, shifted by the rows that earlier epochs have used.
        ends = np.cumsum(taken, dtype=np.int64)
        place = np.arange(len(self.rows) if batches >= lengths.max(initial=0) else int(taken.sum()), dtype=np.int64)
        moved = epoch * taken.astype(np.int64) - (ends - taken)
        place = (place + np.repeat(moved, taken)) % np.repeat(lengths, taken) + np.repeat(self.starts[order], taken)
        return np.concatenate([self.rows[place], random.permutation(self.free)])

    def fewest_left(self, batches: int, size: int) -> int:
        """Return the smallest t such that full batches can leave over at most t rows of each text.

        A batch takes one row of a text, so the batches together must take at least m - t of its m rows.

        Args:
            batches: number of full batches, at most `full_batches`.
            size: rows of a batch.
        """
        if len(self.ids) == batches * size:
            return 0
        lengths, times = self.size_counts
        # At least 1, so that a free row may be left over, too.
        low = max(int(self.lengths.max(initial=0)) - batches, 1)
        high = max(int(self.lengths.max(initial=0)), low)
        # Feasible from the smallest t on, so the search for the largest feasible number runs on -t.
        return -binary_search(-high, -low, lambda t: int(np.maximum(lengths + t, 0) @ times) <= batches * size)

    def split_full(self, batches: int, size: int, random: np.random.RandomState) -> tuple[Rows, Rows]:
        """Return the rows for full batches, and the others, of which at most `fewest_left` share a text.

        Both are in a random order of texts, grouped by text.

        Args:
            batches: number of full batches, at most `full_batches`.
            size: rows of a batch.
            random: source of the order and of the choice of rows.
        """
        rows = np.concatenate([self.rows, self.free])
        order = random.permutation(len(self.lengths) + len(self.free))
        lengths = np.append(self.lengths, np.ones(len(self.free), np.int32))[order]
        starts = np.append(self.starts, np.arange(len(self.rows), len(rows), dtype=np.int32))[order]
        left = np.maximum(lengths - batches, 0)
        more = np.repeat(np.arange(len(order)), np.minimum(lengths, self.fewest_left(batches, size)) - left)
        chosen = random.permutation(more)[: len(rows) - batches * size - left.sum()]
        left += np.bincount(chosen, minlength=len(order))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        is_left = place < np.repeat(left, lengths)
        moved = (place + np.repeat(random.randint(lengths), lengths)) % np.repeat(lengths, lengths)
        found = rows[moved + np.repeat(starts, lengths)]
        return found[~is_left], found[is_left]


def group_texts(ids: Ids) -> Texts:
    """Find the texts of a dataset that occur in several rows.

    Args:
        ids: id of the text in each column and row, shape (columns, rows), at least 0 and the same for a text in all
            columns; NOTHING for no text.
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
