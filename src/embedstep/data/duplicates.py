"""Rows that say the same: within a dataset, and in the training data and a held-out dataset alike.

Texts are compared in Unicode's compatibility form NFKC, in lower case and without white space. A row is known by a
64-bit number of each of its texts, so that no text is held to be compared: among ten million rows, two different ones
get one number with a probability of about 3 in a million.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedstep.data.facts import ColumnKind
from embedstep.data.roles import SLICE

Numbers = NDArray[np.uint64]
"""Numbers of the texts of one column, shape (rows,); they compare within one process only."""
_KEY = "anchor"
_BETWEEN = "\x1f"
_LOWER = bytes(range(256)).lower()
_SPACES = bytes(code for code in range(128) if chr(code).isspace() and chr(code) != _BETWEEN)
_ODD = np.uint64(0x9E3779B97F4A7C15)


class TextHashes:
    """Numbers the texts of rows that arrive in batches."""

    def __init__(self, kinds: Mapping[str, ColumnKind]) -> None:
        self._found: dict[str, list[Numbers]] = {
            name: [] for name, kind in kinds.items() if kind in ("text", "texts") and name != SLICE
        }

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch whose columns are complete."""
        for name, found in self._found.items():
            numbers = (hash(text) for text in normalised(batch.column(name)))
            found.append(np.fromiter(numbers, np.int64, batch.num_rows).view(np.uint64))

    def by_column(self) -> dict[str, Numbers]:
        """Return the numbers of all rows so far by column."""
        return {name: np.concatenate([np.empty(0, np.uint64), *found]) for name, found in self._found.items()}


def normalised(texts: pa.Array[Any]) -> list[bytes]:
    """Return each text as it is compared; of a list of texts, all of them in one."""
    joined: Any = pc.binary_join(texts, _BETWEEN) if isinstance(texts, pa.ListArray) else texts
    if not pc.all(pc.string_is_ascii(joined)).as_py():
        # The type hints that there are for Arrow lack some of its functions.
        joined = pc.utf8_lower(pc.call_function("utf8_normalize", [joined], pc.Utf8NormalizeOptions("NFKC")))
    return [text.translate(_LOWER, _SPACES) for text in joined.cast(pa.binary()).to_pylist()]


def first_rows(numbers: Mapping[str, Numbers]) -> NDArray[np.int64]:
    """Return the numbers of the rows whose texts no earlier row has all, in their order."""
    return np.sort(np.unique(_together(list(numbers.values())), return_index=True)[1])


def count_duplicates(numbers: Mapping[str, Numbers]) -> int:
    """Return how many rows have all their texts from an earlier row."""
    rows = _together(list(numbers.values()))
    return len(rows) - len(np.unique(rows))


def overlapping(held_out: Mapping[str, Numbers], training: Sequence[Mapping[str, Numbers]]) -> NDArray[np.int64]:
    """Return the numbers of the rows of a held-out dataset whose anchor stands in one of the training datasets.

    The anchor alone: a model that was trained on a question has seen it, whatever the answer was.
    """
    if _KEY not in held_out:
        return np.empty(0, np.int64)
    seen = np.concatenate([np.empty(0, np.uint64), *(one[_KEY] for one in training if _KEY in one)])
    return np.flatnonzero(np.isin(held_out[_KEY], seen))


def _together(columns: Sequence[Numbers]) -> Numbers:
    """Return one number for each row, of those of its texts in their order."""
    together = np.zeros(len(columns[0]) if columns else 0, np.uint64)
    for column in columns:
        together = (together ^ column) * _ODD
        together ^= together >> np.uint64(29)
    return together
