"""The rows of each rank in each step of each epoch.

A step takes its rows from one dataset. The ranks share one batch if its rows have to fit together across ranks (no
repeated text, because embeddings may be gathered); else each rank has a batch of its own. Each rank computes the whole
epoch from the same seed and takes its part, so the ranks need no communication. Where each node has rows of its own,
"ranks" are those of one node: all nodes take a step's rows from the same dataset, by the seed, and as many steps.
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
from embedstep.sampling.batches import Batches, Rows, cut, even, joined, random_state, split
from embedstep.sampling.labels import Labels
from embedstep.sampling.texts import Texts

Mixing = Literal["proportional", "round_robin"]
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """The batches of one dataset, as many in each epoch as in the first.

    Attributes:
        rows: number of rows.
        size: rows of a batch.
        drop_last: drop the rows that do not fill a batch.
        seed: seed of the order.
        texts: texts that no batch may repeat, or None.
        labels: labels of which each batch needs two, or None.
        lengths: number of tokens of each row, to batch rows of similar length, or None.
        in_order: keep the order of the dataset in every epoch.
        declared: returns the batches of an epoch by the sampler of another package, or None.
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
        return self._arrange(0, 0)

    def batches(self, epoch: int) -> Batches:
        """Return the batches of one epoch.

        With repeated texts in several columns, an arrangement may have more or fewer batches than the first epoch.
        With `drop_last`, surplus batches are dropped; without it, missing ones are made by halving. Otherwise another
        arrangement is tried. If all fail, the batches of the first epoch are used again in another order.
        """
        if epoch == 0:
            return self._first
        if self.declared is not None:
            return self.declared(epoch)
        for attempt in range(_ATTEMPTS):
            found = self._arrange(epoch, attempt)
            if len(found) == self.count or (self.drop_last and len(found) > self.count):
                return Batches(rows=found.rows[: found.starts[self.count]], starts=found.starts[: self.count + 1])
            if self.texts is not None and not self.drop_last and len(found) < self.count:
                return split(found, self.count)
        order = random_state(self.seed, epoch).permutation(self.count)
        return joined([_one(self._first[number]) for number in order])

    def _arrange(self, epoch: int, attempt: int) -> Batches:
        if self.declared is not None:
            return self.declared(epoch)
        # A checkpoint counts steps, so a change in how this generator is used changes the meaning of every checkpoint.
        random = random_state(self.seed, epoch, attempt)
        if self.labels is not None:
            return by_label.arrange(
                self.labels, self.size, drop_last=self.drop_last, random=random, lengths=self.lengths
            )
        if self.texts is not None:
            found = duplicates.arrange(self.texts, self.size, drop_last=self.drop_last, random=random, epoch=epoch)
            return found if self.lengths is None else self._by_length(self.texts, self.lengths, found, random)
        if self.in_order:
            return cut(np.arange(self.rows, dtype=np.int32), self.size, drop_last=self.drop_last)
        if self.lengths is not None:
            return by_length.arrange(self.lengths, self.size, drop_last=self.drop_last, random=random)
        return cut(random.permutation(np.arange(self.rows, dtype=np.int32)), self.size, drop_last=self.drop_last)

    def _by_length(
        self, texts: Texts, tokens: NDArray[np.int32], found: Batches, random: np.random.RandomState
    ) -> Batches:
        full = int((np.diff(found.starts) == self.size).sum())
        table = by_length.exchange_rows(texts, found.rows[: full * self.size].reshape(full, self.size), tokens)
        rest = Batches(rows=found.rows[full * self.size :], starts=found.starts[full:] - full * self.size)
        return joined([even(random.permutation(table)), rest])


def _one(rows: Rows) -> Batches:
    return Batches(rows=rows, starts=np.array([0, len(rows)]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The rows of all ranks in one step.

    Attributes:
        dataset: index of the dataset.
        offset: number of rows of the datasets before it.
        batches: one batch that the ranks share, or one batch for each rank.
        world_size: number of ranks.
    """

    dataset: int
    offset: int
    batches: tuple[Rows, ...]
    world_size: int

    def batch(self, rank: int) -> Rows:
        """Return the batch that a rank trains on or shares, as rows of the dataset."""
        return self.batches[rank if len(self.batches) > 1 else 0]

    def rows_of(self, rank: int) -> Rows:
        """Return the rows of one rank, numbered through all datasets."""
        batch = self.batch(rank)
        if len(self.batches) > 1:
            return batch + self.offset
        rows = len(batch) // self.world_size
        return batch[rank * rows : (rank + 1) * rows] + self.offset


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """The steps of all epochs over all datasets.

    Attributes:
        samplers: one for each dataset.
        world_size: number of ranks.
        mixing: `proportional` uses all batches of all datasets; `round_robin` alternates until one is exhausted.
        seed: seed of the order of datasets.
        most_steps: steps of an epoch that nodes with other rows have batches for, by dataset; None without such nodes.
    """

    samplers: tuple[Sampler, ...]
    world_size: int
    mixing: Mixing
    seed: int
    most_steps: tuple[int, ...] | None = None

    @cached_property
    def steps_of(self) -> tuple[int, ...]:
        """Steps of an epoch by dataset."""
        steps = tuple(map(self.steps_alone, range(len(self.samplers))))
        return (min(steps),) * len(steps) if self.mixing == "round_robin" else steps

    def steps_alone(self, number: int) -> int:
        """Return the steps of an epoch that a dataset has batches for, whatever the mixing."""
        sampler = self.samplers[number]
        steps = sampler.count // self.batches_per_step(sampler)
        return steps if self.most_steps is None else min(steps, self.most_steps[number])

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return sum(self.steps_of)

    def datasets(self, epoch: int) -> NDArray[np.int64]:
        """Return the index of each step's dataset, shape (steps,)."""
        if self.mixing == "round_robin":
            return np.tile(np.arange(len(self.samplers)), self.steps // max(len(self.samplers), 1))
        order = np.repeat(np.arange(len(self.samplers)), self.steps_of)
        if len(self.samplers) == 1:
            return order
        return random_state(self.seed, epoch, len(self.samplers)).permutation(order)

    def rows_of(self, epoch: int, rank: int, start: int = 0) -> Iterator[Rows]:
        """Yield the rows of one rank in each step, numbered through all datasets.

        Args:
            epoch: epoch, from 0.
            rank: rank, from 0.
            start: first step, for resuming; the steps are the same as without it.
        """
        return (step.rows_of(rank) for step in self.walk(epoch, start))

    def walk(self, epoch: int, start: int = 0) -> Iterator["Step"]:
        """Yield the steps of an epoch from step `start` on."""
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
        """Return the batches of a step: one for each rank if they are built by label, else one that the ranks share."""
        return self.world_size if sampler.labels is not None else 1
