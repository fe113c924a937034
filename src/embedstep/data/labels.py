"""Values and range of a dataset's labels, for the checks of a loss."""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute

_MAX_VALUES = 1_000
# The stubs of pyarrow need the array's type, which is known only at run time.
_compute: Any = pyarrow.compute


class LabelSummary:
    """Values and range of a label column, collected batch by batch.

    Attributes:
        range: smallest and largest label, or None for lists.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] | None = Counter()
        self.range: tuple[float, float] | None = None

    def update(self, labels: pa.Array[Any]) -> None:
        """Add labels without nulls: int64 or float64; lists of numbers are ignored."""
        if len(labels) == 0 or isinstance(labels, pa.ListArray):
            return
        ends = _compute.min_max(labels).as_py()
        low, high = self.range or (ends["min"], ends["max"])
        self.range = (float(min(low, ends["min"])), float(max(high, ends["max"])))
        if isinstance(labels, pa.Int64Array) and self._counts is not None:
            self._counts.update(
                {entry["values"]: entry["counts"] for entry in _compute.value_counts(labels).to_pylist()}
            )
            self._counts = self._counts if len(self._counts) <= _MAX_VALUES else None

    @property
    def values(self) -> dict[int, int]:
        """Number of rows by label, sorted by label; empty for more than 1,000 labels or labels that are no integers."""
        return dict(sorted((self._counts or {}).items()))
