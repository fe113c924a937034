"""What the labels of a dataset are: the checks of a loss need their values and range, not the rows."""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute

_MOST_VALUES = 1_000
# The hints of pyarrow want to know the array's type beforehand; here it is known only when running.
_compute: Any = pyarrow.compute


class LabelSummary:
    """Values and range of a label column that arrives in batches."""

    def __init__(self) -> None:
        self._counts: Counter[int] | None = Counter()
        self._range: tuple[float, float] | None = None

    def update(self, labels: pa.Array[Any]) -> None:
        """Add labels without nulls: int64, float64, or lists of numbers, of which nothing is kept."""
        if len(labels) == 0 or isinstance(labels, pa.ListArray):
            return
        ends = _compute.min_max(labels).as_py()
        low, high = self._range or (ends["min"], ends["max"])
        self._range = (float(min(low, ends["min"])), float(max(high, ends["max"])))
        if isinstance(labels, pa.Int64Array) and self._counts is not None:
            self._counts.update(
                {entry["values"]: entry["counts"] for entry in _compute.value_counts(labels).to_pylist()}
            )
            self._counts = self._counts if len(self._counts) <= _MOST_VALUES else None

    @property
    def values(self) -> dict[int, int]:
        """Rows by label value in the order of the values; empty for more than 1,000 values and for other numbers."""
        return dict(sorted((self._counts or {}).items()))

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest label."""
        return self._range
