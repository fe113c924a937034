"""What a batch was formed for, looked at once more in the rows that were really read, whatever formed it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from embedstep.errors import TrainingFailedError

_SHOWN = 60


def require_guarantee(sampler: str, rows: Sequence[int], features: Sequence[Mapping[str, Any]]) -> None:
    """Check one batch of one rank.

    Args:
        sampler: value of `batch_sampler`.
        rows: numbers of the rows.
        features: the rows, by column.

    Raises:
        TrainingFailedError: a text stands in two rows, or a label is alone; the batch is told.
    """
    if sampler.startswith("no_duplicates"):
        _require_distinct(rows, features)
    if sampler == "group_by_label":
        _require_partners(rows, features)


def _require_distinct(rows: Sequence[int], features: Sequence[Mapping[str, Any]]) -> None:
    first: dict[str, int] = {}
    for row, feature in zip(rows, features, strict=True):
        for text in _texts(feature):
            if (other := first.setdefault(text, row)) != row:
                raise TrainingFailedError(
                    f"a batch of no_duplicates holds a text in two rows, {other} and {row}: {text[:_SHOWN]!r}; "
                    f"the batch has the rows {list(rows)}"
                )


def _require_partners(rows: Sequence[int], features: Sequence[Mapping[str, Any]]) -> None:
    counts = Counter(feature["label"] for feature in features)
    if len(counts) < 2 or min(counts.values()) < 2:
        told = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
        raise TrainingFailedError(
            "a batch of group_by_label needs two labels, and two rows of each; its rows by label are "
            f"{told}, and their numbers {list(rows)}"
        )


def _texts(feature: Mapping[str, Any]) -> set[str]:
    """The texts of a row; one that stands in two of its own columns is one."""
    cells = [cell for name, cell in feature.items() if name not in ("label", "dataset_name")]
    lists = [cell if isinstance(cell, list) else [cell] for cell in cells]
    return {text for texts in lists for text in texts if isinstance(text, str)}
