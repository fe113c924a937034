"""Checks that a batch keeps the promise of its sampler, in the texts themselves and not in their hashes."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from embedstep.errors import TrainingFailedError

_SHOWN = 60


def require_valid_batch(sampler: str, rows: Sequence[int], dataset: Dataset) -> None:
    """Read the rows of a batch and check the promise of its sampler.

    Args:
        sampler: value of `batch_sampler`.
        rows: row numbers, of all ranks for no_duplicates and of one rank for group_by_label.
        dataset: the dataset that they belong to.

    Raises:
        TrainingFailedError: two rows share a text, or a label has a single row; the message lists the rows.
    """
    if sampler.startswith("no_duplicates"):
        # With several datasets the trainer adds a column for the dataset's name, which is no text.
        columns = dataset[rows]
        _require_distinct(rows, [columns[name] for name in dataset.column_names if name != "label"])
    if sampler == "group_by_label":
        _require_partners(rows, dataset[rows]["label"])


def _require_distinct(rows: Sequence[int], columns: Sequence[Sequence[Any]]) -> None:
    first: dict[str, int] = {}
    for row, *of_row in zip(rows, *columns, strict=True):
        for text in _texts(of_row):
            if (other := first.setdefault(text, row)) != row:
                raise TrainingFailedError(
                    f"a batch of no_duplicates holds a text in two rows, {other} and {row}: {text[:_SHOWN]!r}; "
                    f"rows of the batch: {list(rows)}"
                )


def _require_partners(rows: Sequence[int], labels: Sequence[Any]) -> None:
    counts = Counter(labels)
    if len(counts) < 2 or min(counts.values()) < 2:
        by_label = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
        raise TrainingFailedError(
            f"a batch of group_by_label needs two labels with two rows each; rows by label: {by_label}; "
            f"rows of the batch: {list(rows)}"
        )


def _texts(cells: Sequence[Any]) -> set[str]:
    """The distinct texts of a row: a text may repeat within it."""
    lists = [cell if isinstance(cell, list) else [cell] for cell in cells]
    return {text for texts in lists for text in texts if isinstance(text, str)}
