"""What a loader of one rank reads: rows by their numbers, and token ids in place of texts where they are kept."""

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, repeat
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from embedstep.data.tokens import TokenIds
from embedstep.sampling.epochs import Epochs
from embedstep.worker.interruption import ignore_signals
from embedstep.worker.trainer.batch_checks import require_guarantee

Tokens = Mapping[str, TokenIds]
"""Token ids of the columns of one dataset."""
_CHECKED_STEPS = 2
"""Steps of each epoch whose batches are read in whole to see that they are what they were formed to be."""


def begin_worker(number: int) -> None:
    """Prepare a worker of a loader, which the rank ends and no signal does.

    It tokenizes in its one thread: the pool of threads does not survive the fork, and hangs.
    """
    ignore_signals()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def parts_of(rows: Dataset | DatasetDict) -> list[Dataset]:
    """Return the datasets in their order."""
    return list(rows.values()) if isinstance(rows, DatasetDict) else [rows]


def file_of(rows: Dataset) -> str:
    """Return the Arrow file of prepared rows, which tells a dataset from the others; nothing for rows in memory."""
    return next((str(file["filename"]) for file in rows.cache_files), "")


class RankBatches:
    """The row numbers of each step of one rank, as a loader draws them."""

    def __init__(self, epochs: Epochs, rank: int, parts: Sequence[Dataset], sampler: str, *, in_training: bool) -> None:
        """Take what the ranks take in each step.

        Args:
            epochs: the batches.
            rank: this rank.
            parts: the datasets, in the order of their batches.
            sampler: value of `batch_sampler`.
            in_training: draw other batches in each epoch; evaluations have the same ones every time.
        """
        self._epochs = epochs
        self._rank = rank
        self._parts = parts
        self._sampler = sampler
        self._in_training = in_training
        self._epoch = 0
        self._start = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the batches of this epoch from now on, unless they are those of an evaluation."""
        if self._in_training:
            self._epoch = epoch

    def resume_at(self, step: int) -> None:
        """Form nothing for the steps before this one: whoever draws them passes over them."""
        self._start = step

    def __len__(self) -> int:
        return self._epochs.steps

    @property
    def sizes(self) -> list[int]:
        """Rows of this rank in each step of the first epoch."""
        return [len(rows) for rows in self._epochs.share(0, self._rank)]

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rows of this rank; of the steps before the one that it begins at, none.

        Raises:
            TrainingFailedError: one of the first batches is not what it was formed to be.
        """
        yield from repeat([], self._start)
        for number, step in enumerate(self._epochs.walk(self._epoch, self._start)):
            if number < _CHECKED_STEPS:
                require_guarantee(self._sampler, step.batch(self._rank).tolist(), self._parts[step.dataset])
            yield step.share(self._rank).tolist()


class ByDataset(torch.utils.data.Dataset[Any]):  # type: ignore[misc]
    """Datasets one behind the other; the rows of a batch are all of one of them, and read at once."""

    def __init__(self, parts: Sequence[Dataset], tokens: Sequence[Tokens]) -> None:
        """Take the rows.

        Args:
            parts: the datasets.
            tokens: kept token ids of each dataset; of a single dataset the texts are not read.
        """
        self._columns = [part.column_names for part in parts]
        self._tokens = tokens
        self._read = [_without(part, kept) for part, kept in zip(parts, tokens, strict=True)]
        self._lengths = [len(part) for part in parts]
        self._ends = list(accumulate(self._lengths))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the rows of a batch, their columns in the order of the dataset."""
        number = bisect_right(self._ends, rows[0])
        start = self._ends[number] - self._lengths[number]
        places = [row - start for row in rows]
        read = self._read[number]
        tokens = {name: [ids[place] for place in places] for name, ids in self._tokens[number].items()}
        cells = dict.fromkeys(self._columns[number]) | (read[places] if read.column_names else {}) | tokens
        return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


def _without(part: Dataset, columns: Iterable[str]) -> Dataset:
    """Return a dataset that does not read some columns; one that the trainer gave a transform reads what that asks."""
    return part if part.format["type"] == "custom" else part.remove_columns(list(columns))
