"""Batches for losses that compare rows of the same label: at least two labels, and at least two rows of each.

The rows of a label are grouped into pairs; an odd row may turn one pair into a triple. The groups are shuffled, so each
label has the same share in the batches as in the data. A batch with one label only exchanges a pair with another batch.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling.batches import Batches, Rows, in_order

WINDOW = 50
"""Number of batches that are sorted by length together."""


@dataclass(frozen=True)
class Labels:
    """The labels that occur in several rows of a dataset.

    Attributes:
        numbers: label of each row, renumbered from 0; -1 for a label of no other row. Shape (rows,).
        counts: number of rows of each label, shape (labels,).
    """

    numbers: NDArray[np.int32]
    counts: NDArray[np.int64]

    @property
    def usable(self) -> int:
        """Number of rows with a repeated label."""
        return int(self.counts.sum())

    @cached_property
    def pairs(self) -> int:
        """Number of pairs of rows with the same label."""
        return int((self.counts // 2).sum())

    @cached_property
    def others(self) -> int:
        """Number of pairs of all labels but the most frequent one."""
        return self.pairs - int((self.counts // 2).max(initial=0))

    def full_batches(self, size: int) -> int:
        """Return the largest number of full batches of pairs and at most one triple for each label.

        An exhaustive search finds one more in rare small cases, such as 3, 3 and 6 rows in batches of 6.

        M batches need M * size rows, and each needs a pair that is not of the most frequent label. With P pairs and T
        triples the first condition is 2P + T >= M * size. A batch holds triples in twos, at most size // 6 times, and
        these need a second pair of another label; one fewer if the most frequent label has a triple itself.

        Args:
            size: rows of a batch, even and at least 4.
        """
        odd = int((self.counts % 2).sum())
        batches = min(self.others, (2 * self.pairs + odd) // size)
        while batches and not self._suffice(batches, odd // 2 * 2, size):
            batches -= 1
        return batches

    def triples(self, batches: int, size: int) -> int:
        """Return the number of triples that `batches` batches need."""
        return max(batches * size - 2 * self.pairs, 0)

    def _suffice(self, batches: int, most_triples: int, size: int) -> bool:
        triples = self.triples(batches, size)
        fits = triples <= min(most_triples, 2 * (size // 6) * batches)
        return fits and (triples >= 2 * batches or self.others >= self.needed_others(batches, triples))

    def needed_others(self, batches: int, triples: int) -> int:
        """Return the number of pairs of other labels than the most frequent one that two labels per batch need."""
        return batches + triples // 2 - int(triples > 0 and self.counts[self.most_frequent] % 2)

    @cached_property
    def most_frequent(self) -> int:
        """Index of the label with the most pairs; of several, one with an odd row."""
        return int(np.argmax(self.counts // 2 * 2 + self.counts % 2))


def group_labels(values: NDArray[np.int64]) -> Labels:
    """Find the labels of a dataset that occur in several rows.

    Args:
        values: label of each row, shape (rows,).
    """
    _, numbers, counts = np.unique(values, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(counts > 1)
    renumbered = np.full(len(counts), -1, np.int32)
    renumbered[kept] = np.arange(len(kept), dtype=np.int32)
    return Labels(renumbered[numbers], counts[kept])


def arrange(
    labels: Labels,
    size: int,
    *,
    drop_last: bool,
    random: np.random.RandomState,
    lengths: NDArray[np.int32] | None = None,
) -> Batches:
    """Return batches of `size` rows with at least two labels, and at least two rows of each.

    Args:
        labels: the labels.
        size: rows of a batch, even and at least 4.
        drop_last: drop the rows that fill no batch; otherwise a smaller batch follows, if it has two labels.
        random: source of the order.
        lengths: number of tokens of each row, to batch rows of similar length; None to mix them.
    """
    batches = labels.full_batches(size)
    if not batches:
        return Batches(rows=np.empty(0, np.int32), starts=np.zeros(1, np.int64))
    rows, starts = _by_label(labels, random, lengths)
    triples = labels.triples(batches, size)
    odd = random.permutation(np.flatnonzero(labels.counts % 2))
    triple_labels = odd[np.argsort(odd != labels.most_frequent, kind="stable")][:triples]
    first, label = _pairs(labels, starts)
    # The last pair of a label becomes its triple.
    in_triple = np.zeros(len(first), bool)
    in_triple[np.cumsum(labels.counts // 2)[triple_labels] - 1] = True
    blocks = np.bincount(np.arange(triples // 2) % batches, minlength=batches)
    slots = (size - 6 * blocks) // 2
    spare = int((~in_triple).sum() - slots.sum())
    last = 0 if drop_last else min(spare, size // 2)
    if last >= 2 and labels.others > labels.needed_others(batches, triples):
        slots, blocks = np.append(slots, last), np.append(blocks, 0)
    is_other = label != labels.most_frequent
    pairs = _chosen(np.flatnonzero(~in_triple), is_other, int(slots.sum()), int((blocks == 0).sum()), random)
    if lengths is not None:
        pairs = _by_length(pairs, lengths[rows[first[pairs]]], size // 2 * WINDOW)
    pairs = _with_two_labels(pairs, label, slots, blocks > 0, random)
    return _joined(rows, first, pairs, random.permutation(np.flatnonzero(in_triple)), slots, batches, random)


def _by_label(
    labels: Labels, random: np.random.RandomState, lengths: NDArray[np.int32] | None
) -> tuple[Rows, NDArray[np.int64]]:
    """Return the rows grouped by label, in random order or by length, and the start of each label."""
    rows = random.permutation(np.flatnonzero(labels.numbers >= 0).astype(np.int32))
    if lengths is not None:
        # With some noise, so that a row is not paired with the same other row in every epoch.
        rows = rows[np.argsort(lengths[rows] * (1 + random.random_sample(len(rows)) / 10), kind="stable")]
    rows = rows[np.argsort(labels.numbers[rows], kind="stable")]
    return rows, np.concatenate([[0], np.cumsum(labels.counts)[:-1]])


def _pairs(labels: Labels, starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the index of the first row and the label of each pair."""
    count = labels.counts // 2
    label = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(label)) - np.repeat(np.cumsum(count) - count, count)
    return starts[label] + 2 * within, label


def _chosen(
    pairs: NDArray[np.int64], is_other: NDArray[np.bool_], count: int, others: int, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Return `count` random pairs, of which at least `others` are not of the most frequent label."""
    pairs = random.permutation(pairs)
    # The required pairs come first, then the others in random order.
    needed = np.flatnonzero(is_other[pairs])[:others]
    order = np.concatenate([needed, np.delete(np.arange(len(pairs)), needed)])[:count]
    return random.permutation(pairs[order])


def _by_length(pairs: NDArray[np.int64], lengths: NDArray[np.int32], window: int) -> NDArray[np.int64]:
    return pairs[np.lexsort((lengths, np.arange(len(pairs)) // window))]


def _with_two_labels(
    pairs: NDArray[np.int64],
    label: NDArray[np.int64],
    slots: NDArray[np.int64],
    has_block: NDArray[np.bool_],
    random: np.random.RandomState,
) -> NDArray[np.int64]:
    """Exchange pairs until each batch has two labels; batches with triples (`has_block`) have them anyway."""
    starts = np.cumsum(slots) - slots
    batch = np.repeat(np.arange(len(slots)), slots)
    for _ in range(2 if len(pairs) else 0):
        labels = label[pairs]
        low = np.minimum.reduceat(labels, np.minimum(starts, len(pairs) - 1))
        high = np.maximum.reduceat(labels, np.minimum(starts, len(pairs) - 1))
        lacking = np.flatnonzero((low == high) & ~has_block)
        if not len(lacking):
            return pairs
        lacking = lacking[np.argsort(low[lacking], kind="stable")]
        half = len(lacking) // 2
        one, other = lacking[:half], lacking[len(lacking) - half :]
        differ = low[one] != low[other]
        _swap(pairs, starts[one[differ]], starts[other[differ]])
        left = np.setdiff1d(lacking, np.concatenate([one[differ], other[differ]]))
        # The other batches have one label in common: they get pairs of other labels from batches that keep one.
        labels = label[pairs]
        is_other = np.flatnonzero(labels != low[left[0]]) if len(left) else left
        kept = np.unique(batch[is_other], return_index=True)[1]
        kept = kept[~has_block[batch[is_other[kept]]]]
        spare = random.permutation(np.delete(is_other, kept))[: len(left)]
        _swap(pairs, starts[left[: len(spare)]], spare)
    return pairs


def _swap(values: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    values[one], values[other] = values[other], values[one]


def _joined(
    rows: Rows,
    first: NDArray[np.int64],
    pairs: NDArray[np.int64],
    triples: NDArray[np.int64],
    slots: NDArray[np.int64],
    full: int,
    random: np.random.RandomState,
) -> Batches:
    """Return the batches, the full ones in a random order."""
    batch = np.repeat(np.arange(len(slots)), slots)
    twice, thrice = first[pairs], first[triples]
    places = np.concatenate([twice, twice + 1, thrice, thrice + 1, thrice + 2])
    triple_batches = np.arange(len(triples)) // 2 % full
    owner = np.concatenate([batch, batch, triple_batches, triple_batches, triple_batches])
    order = np.append(random.permutation(full), np.arange(full, len(slots)))
    return in_order(rows[places], owner, order)
