"""Words for nothing, which a file without types holds in place of an empty cell: they would be trained on as texts."""

from __future__ import annotations  # arrays take type parameters in hints alone

import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from embedstep.data.facts import ColumnKind

_WORDS = ("NaN", "nan", "NAN", "null", "NULL", "Null", "None", "none", "N/A", "n/a", "NA", "#N/A", "<NA>")
"""What pandas reads as missing, without the words that may be an answer, such as `-`."""


def _as_array(texts: Sequence[str]) -> pa.StringArray:
    """Return texts as an array; `pyarrow.array` makes pyarrow import pandas, which takes 0.2 s."""
    ends = [0, *accumulate(map(len, texts))]
    return pa.StringArray.from_buffers(
        len(texts), pa.py_buffer(struct.pack(f"{len(ends)}i", *ends)), pa.py_buffer("".join(texts).encode())
    )


class Placeholders:
    """Counts cells that hold such a word and nothing else, batch by batch.

    Attributes:
        counts: number of cells by column; without the columns that have none.
    """

    def __init__(self, kinds: Mapping[str, ColumnKind]) -> None:
        self._columns = [name for name, kind in kinds.items() if kind == "text"]
        self._words = _as_array(_WORDS)
        self.counts: dict[str, int] = {}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        for name in self._columns:
            if found := pc.is_in(batch.column(name), value_set=self._words).true_count:
                self.counts[name] = self.counts.get(name, 0) + found
