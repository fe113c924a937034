"""What a loader of one rank reads: rows by their numbers, and token ids in place of texts where they are kept."""

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from embedstep.data.tokens import TokenIds
from embedstep.sampling.epochs import Epochs
from embedstep.worker.guarantees import require_guarantee

Tokens = Mapping[str, TokenIds]
"""Token ids of the columns of one dataset."""


def tokenize_alone(number: int) -> None:
    """Let a worker of a loader tokenize in its one thread: the pool of threads does not survive the fork, and hangs."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def parts_of(rows: Dataset | DatasetDict) -> list[Dataset]:
    """Return the datasets in their order."""
    return list(rows.values()) if isinstance(rows, DatasetDict) else [rows]


class RankBatches:
    """The row numbers of each step of one rank, as a loader draws them."""

    def __init__(self, epochs: Epochs, rank: int) -> None:
        self._epochs = epochs
        self._rank = rank
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the batches of this epoch from now on."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._epochs.steps

    def __iter__(self) -> Iterator[list[int]]:
        for rows in self._epochs.share(self._epoch, self._rank):
            yield rows.tolist()


class ByDataset(torch.utils.data.Dataset[Any]):  # type: ignore[misc]
    """Datasets one behind the other; the rows of a batch are all of one of them, and read at once."""

    def __init__(self, rows: Dataset | DatasetDict, tokens: Sequence[Tokens], sampler: str) -> None:
        """Take the rows.

        Args:
            rows: the datasets.
            tokens: kept token ids of each dataset.
            sampler: value of `batch_sampler`.
        """
        self._sampler = sampler
        self._tokens = tokens
        self._parts = parts_of(rows)
        self._ends = list(accumulate(len(part) for part in self._parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the rows of a batch, which is what it was formed to be.

        Raises:
            TrainingFailedError: it is not.
        """
        number = bisect_right(self._ends, rows[0])
        start = self._ends[number] - len(self._parts[number])
        places = [row - start for row in rows]
        found: list[dict[str, Any]] = self._parts[number].__getitems__(places)
        require_guarantee(self._sampler, rows, found)
        for column, ids in self._tokens[number].items():
            for row, place in zip(found, places, strict=True):
                row[column] = ids[place]
        return found
