"""What each rank trains on in each step of each epoch: the batches of all datasets, in one order, cut for the ranks.

A step takes its rows from one dataset: one batch for all ranks together where the rows of all ranks must go together
(no text twice, since the ranks may gather their embeddings), else a batch for each rank. Every rank works the whole
epoch out by itself, from the same numbers, and takes its share; no rank needs another one for that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedstep.sampling import duplicates
from embedstep.sampling import labels as by_label
from embedstep.sampling import lengths as by_length
from embedstep.sampling.batches import Batches, Rows, cut, even, joined, random_of, split
from embedstep.sampling.labels import Labels
from embedstep.sampling.texts import Texts

Mixing = Literal["proportional", "round_robin"]
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """The batches of one dataset in each epoch, always as many as in the first one.

    Attributes:
        rows: number of rows.
        size: rows of a batch.
        drop_last: leave out the rows that fill no batch.
        seed: seed of the order.
        texts: texts of which no batch may hold one twice, or None.
        labels: labels of which each batch needs two, or None.
        lengths: tokens of each row, to put rows of similar length together, or None.
        in_order: take the rows as they stand, in every epoch.
        declared: forms the batches of an epoch in place of all that, or None.
    """

    rows: int
    size: int
    drop_last: bool
    seed: int
    texts: Texts | None = None
    labels: Labels | None = None
    lengths: NDArray[np.int32] | None = None
    in_order: bool = False
    declared: Callable[[int], Batches] | None = None

    @cached_property
    def count(self) -> int:
        """Number of batches in every epoch."""
        return len(self._first)

    @cached_property
    def _first(self) -> Batches:
        return self._arranged(0, 0)

    def batches(self, epoch: int) -> Batches:
        """Return the batches of one epoch.

        With texts in several columns an arrangement may come out with another number of batches than the first one.
        What is too many is left out with `drop_last`; what is too few is made up without it, by halving batches. Else
        another arrangement is tried, and at last the batches of the first epoch come again in another order.
        """
        if epoch == 0:
            return self._first
        if self.declared is not None:
            return self.declared(epoch)
        for attempt in range(_ATTEMPTS):
            found = self._arranged(epoch, attempt)
            if len(found) == self.count or (self.drop_last and len(found) > self.count):
                return Batches(rows=found.rows[: found.starts[self.count]], starts=found.starts[: self.count + 1])
            if self.texts is not None and not self.drop_last and len(found) < self.count:
                return split(found, self.count)
        order = random_of(self.seed, epoch).permutation(self.count)
        return joined([_one(self._first[number]) for number in order])

    def _arranged(self, epoch: int, attempt: int) -> Batches:
        if self.declared is not None:
            return self.declared(epoch)
        random = random_of(self.seed, epoch, attempt)
        if self.labels is not None:
            return by_label.arrange(
                self.labels, self.size, drop_last=self.drop_last, random=random, lengths=self.lengths
            )
        if self.texts is not None:
            found = duplicates.arrange(self.texts, self.size, drop_last=self.drop_last, random=random, turn=epoch)
            return found if self.lengths is None else self._grouped(self.texts, self.lengths, found, random)
        if self.in_order:
            return cut(np.arange(self.rows, dtype=np.int32), self.size, drop_last=self.drop_last)
        if self.lengths is not None:
            return by_length.arrange(self.lengths, self.size, drop_last=self.drop_last, random=random)
        return cut(random.permutation(np.arange(self.rows, dtype=np.int32)), self.size, drop_last=self.drop_last)

    def _grouped(
        self, texts: Texts, tokens: NDArray[np.int32], found: Batches, random: np.random.RandomState
    ) -> Batches:
        full = int((np.diff(found.starts) == self.size).sum())
        table = by_length.grouped(texts, found.rows[: full * self.size].reshape(full, self.size), tokens)
        rest = Batches(rows=found.rows[full * self.size :], starts=found.starts[full:] - full * self.size)
        return joined([even(random.permutation(table)), rest])


def _one(rows: Rows) -> Batches:
    return Batches(rows=rows, starts=np.array([0, len(rows)]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What all ranks train on in one step.

    Attributes:
        dataset: number of the dataset.
        offset: rows of the datasets before it.
        batches: one that the ranks share, or one of each rank.
        world_size: ranks.
    """

    dataset: int
    offset: int
    batches: tuple[Rows, ...]
    world_size: int

    def batch(self, rank: int) -> Rows:
        """Return the batch that a rank takes part in, as rows of the dataset."""
        return self.batches[rank if len(self.batches) > 1 else 0]

    def share(self, rank: int) -> Rows:
        """Return the rows of one rank, numbered behind those of the datasets before."""
        batch = self.batch(rank)
        if len(self.batches) > 1:
            return batch + self.offset
        share = len(batch) // self.world_size
        return batch[rank * share : (rank + 1) * share] + self.offset


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """What each rank trains on.

    Attributes:
        samplers: one for each dataset.
        world_size: ranks.
        mixing: `proportional` takes all batches of all datasets; `round_robin` takes turns until one has no more.
        seed: seed of the order of datasets.
    """

    samplers: tuple[Sampler, ...]
    world_size: int
    mixing: Mixing
    seed: int

    @cached_property
    def steps_of(self) -> tuple[int, ...]:
        """Steps of an epoch that each dataset fills."""
        steps = tuple(map(self.steps_by_itself, range(len(self.samplers))))
        return (min(steps),) * len(steps) if self.mixing == "round_robin" else steps

    def steps_by_itself(self, number: int) -> int:
        """Return the steps of an epoch that a dataset could fill, whatever the others have."""
        return self.samplers[number].count // self.batches_per_step(self.samplers[number])

    @property
    def steps(self) -> int:
        """Steps of an epoch; on one rank each is a batch."""
        return sum(self.steps_of)

    def datasets(self, epoch: int) -> NDArray[np.int64]:
        """Return the number of the dataset that each step takes its rows from, shape (steps,)."""
        if self.mixing == "round_robin":
            return np.tile(np.arange(len(self.samplers)), self.steps // max(len(self.samplers), 1))
        order = np.repeat(np.arange(len(self.samplers)), self.steps_of)
        return order if len(self.samplers) == 1 else random_of(self.seed, epoch, len(self.samplers)).permutation(order)

    def share(self, epoch: int, rank: int, start: int = 0) -> Iterator[Rows]:
        """Yield the rows of one rank in each step; the rows of a dataset are numbered behind those of the ones before.

        Args:
            epoch: epoch, from 0.
            rank: rank, from 0.
            start: step to begin with; what comes is what would have come after the steps before it.
        """
        return (step.share(rank) for step in self.walk(epoch, start))

    def walk(self, epoch: int, start: int = 0) -> Iterator["Step"]:
        """Yield the steps of an epoch, from step `start`."""
        found = [sampler.batches(epoch) for sampler in self.samplers]
        offsets = np.cumsum([0, *(sampler.rows for sampler in self.samplers)])
        order = self.datasets(epoch)
        done = np.bincount(order[:start], minlength=len(found))
        for dataset in order[start:].tolist():
            taken = self.batches_per_step(self.samplers[dataset])
            first = int(done[dataset]) * taken
            batches = tuple(found[dataset][number] for number in range(first, first + taken))
            yield Step(dataset=dataset, offset=int(offsets[dataset]), batches=batches, world_size=self.world_size)
            done[dataset] += 1

    def batches_per_step(self, sampler: Sampler) -> int:
        """With labels each rank has a batch of its own; else one batch is shared out."""
        return self.world_size if sampler.labels is not None else 1
