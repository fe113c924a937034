"""What the data loader of one rank reads: rows by number, with token ids in place of texts."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, repeat
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from embedstep.data.tokens import TokenIds
from embedstep.data.transforms import RowDrawer, loss_order
from embedstep.sampling.epochs import Epochs
from embedstep.worker.interruption import ignore_signals
from embedstep.worker.trainer.batch_checks import require_valid_batch

Tokens = Mapping[str, TokenIds]
"""Token ids of the columns of one dataset."""
_CHECKED_STEPS = 2
"""Steps at the start of each epoch whose batches are read and checked against the promise of their sampler."""


def init_worker(number: int) -> None:
    """Set up a loader's worker process: the rank ends it, and signals are the rank's to handle.

    It tokenizes in one thread, because the tokenizer's thread pool does not survive the fork and hangs.
    """
    ignore_signals()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def datasets_in(rows: Dataset | DatasetDict) -> list[Dataset]:
    """Return the datasets, in order."""
    return list(rows.values()) if isinstance(rows, DatasetDict) else [rows]


def arrow_file(rows: Dataset) -> str:
    """Return the Arrow file of prepared rows, which identifies a dataset; empty for rows in memory."""
    return next((str(file["filename"]) for file in rows.cache_files), "")


class RankBatches:
    """Batch sampler of one rank: the row numbers of each step."""

    def __init__(self, epochs: Epochs, rank: int, parts: Sequence[Dataset], sampler: str, *, in_training: bool) -> None:
        """Use the batches formed for all ranks.

        Args:
            epochs: the batches of every epoch.
            rank: this rank.
            parts: the datasets, in the order of their row numbers.
            sampler: value of `batch_sampler`.
            in_training: draw different batches in each epoch; an evaluation repeats those of the first.
        """
        self._epochs = epochs
        self._rank = rank
        self._parts = parts
        self._sampler = sampler
        self._in_training = in_training
        self._epoch = 0
        self._start = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw the batches of this epoch from now on, except in an evaluation."""
        if self._in_training:
            self._epoch = epoch

    def resume_at(self, step: int) -> None:
        """Yield empty batches before this step, which the library skips, so that nothing is formed for them."""
        self._start = step

    def __len__(self) -> int:
        return self._epochs.steps

    @property
    def sizes(self) -> list[int]:
        """Rows of this rank in each step of the first epoch."""
        return [len(rows) for rows in self._epochs.rows_of(0, self._rank)]

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the row numbers of this rank in each step; empty before the step to resume at.

        Raises:
            TrainingFailedError: one of the first batches breaks the promise of its sampler.
        """
        yield from repeat([], self._start)
        for number, step in enumerate(self._epochs.walk(self._epoch, self._start)):
            if number < _CHECKED_STEPS:
                require_valid_batch(self._sampler, step.batch(self._rank).tolist(), self._parts[step.dataset])
            yield step.rows_of(self._rank).tolist()


class ConcatenatedDatasets(torch.utils.data.Dataset[Any]):  # type: ignore[misc]
    """Datasets numbered one after the other. All rows of a batch belong to one of them and are read at once."""

    def __init__(
        self, parts: Sequence[Dataset], tokens: Sequence[Tokens], drawers: Sequence[RowDrawer | None] | None = None
    ) -> None:
        """Concatenate the datasets.

        Args:
            parts: the datasets.
            tokens: token ids of the columns of each dataset, whose texts are read once.
            drawers: draws the rows of each dataset in each epoch, or None where they are taken as they stand.
        """
        self._drawers = drawers or [None] * len(parts)
        # In shared memory, because persistent workers keep their copy of this object through all epochs.
        self._epoch = torch.zeros((), dtype=torch.int64)
        if any(self._drawers):
            self._epoch.share_memory_()
        self._columns = [part.column_names for part in parts]
        self._tokens = tokens
        self._read = [_without(part, kept) for part, kept in zip(parts, tokens, strict=True)]
        self._texts = [{name: _texts_of(part, name) for name in kept} for part, kept in zip(parts, tokens, strict=True)]
        self._lengths = [len(part) for part in parts]
        self._ends = list(accumulate(self._lengths))

    def __len__(self) -> int:
        return self._ends[-1]

    def draw_for(self, epoch: int) -> None:
        """Draw for this epoch from now on, in all workers. Without a call it is the first, as in an evaluation.

        The libraries would call a method `set_epoch`, also for an evaluation and with a number of their own.
        """
        self._epoch.fill_(epoch)

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the rows of a batch, with columns in the order of the dataset."""
        number = bisect_right(self._ends, rows[0])
        start = self._ends[number] - self._lengths[number]
        places = [row - start for row in rows]
        read = self._read[number]
        texts = self._texts[number]
        tokens = {name: ids.read(places, texts[name]) for name, ids in self._tokens[number].items()}
        cells = dict.fromkeys(self._columns[number]) | (read[places] if read.column_names else {}) | tokens
        found = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
        return found if self._drawers[number] is None else [*self._drawn(number, places, found)]

    def _drawn(self, number: int, places: list[int], found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield rows of a dataset with what is drawn of them, in the order of the loss's inputs."""
        drawer, epoch = self._drawers[number], int(self._epoch)
        assert drawer is not None
        for place, row in zip(places, found, strict=True):
            drawn = row | drawer.draw(row, place, epoch, self._read[number].__getitem__)
            yield {role: drawn[role] for role in sorted(drawn, key=loss_order)}


def _without(part: Dataset, columns: Iterable[str]) -> Dataset:
    """Return a dataset without some columns, unless the trainer has set a transform, which reads all of them."""
    return part if part.format["type"] == "custom" else part.remove_columns(list(columns))


def _texts_of(part: Dataset, column: str) -> Callable[[Sequence[int]], list[str]]:
    """Return a function from row numbers to the texts of a column."""
    return partial(_cells, part.with_format(None).select_columns([column]), column)


def _cells(part: Dataset, column: str, rows: Sequence[int]) -> list[str]:
    found: list[str] = part[list(rows)][column]
    return found
