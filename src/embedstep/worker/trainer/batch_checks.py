"""What a batch was formed for, looked at once more in the rows themselves: texts are read, not their numbers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from embedstep.errors import TrainingFailedError

_SHOWN = 60


def require_guarantee(sampler: str, rows: Sequence[int], dataset: Dataset) -> None:
    """Read the rows of a batch and check what they were put together for.

    Args:
        sampler: value of `batch_sampler`.
        rows: numbers of the rows: of all ranks for no_duplicates, of one for group_by_label.
        dataset: what they are the rows of.

    Raises:
        TrainingFailedError: a text stands in two rows, or a label is alone; the batch is told.
    """
    if sampler.startswith("no_duplicates"):
        # The trainer lets rows of several datasets bring the dataset's name along, which is no text of theirs.
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
                    f"the batch has the rows {list(rows)}"
                )


def _require_partners(rows: Sequence[int], labels: Sequence[Any]) -> None:
    counts = Counter(labels)
    if len(counts) < 2 or min(counts.values()) < 2:
        told = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
        raise TrainingFailedError(
            "a batch of group_by_label needs two labels, and two rows of each; its rows by label are "
            f"{told}, and their numbers {list(rows)}"
        )


def _texts(cells: Sequence[Any]) -> set[str]:
    """The texts of a row; one that stands in two of its own columns is one."""
    lists = [cell if isinstance(cell, list) else [cell] for cell in cells]
    return {text for texts in lists for text in texts if isinstance(text, str)}
