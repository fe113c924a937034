"""The identity of a dataset's rows: equal rows give an equal digest, whatever file, batch or chunk they came in.

Hashing whole files would tell two spellings of the same rows apart, and hashing batches would depend on how a reader
cuts them. So each column feeds its own hashers with values only: the lengths of its texts and lists to one, the bytes
of all texts in a row to another. Lengths and bytes together say where every text starts, so no two datasets collide
by shifting text from one cell to the next.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from embedstep.data.cells import fixed_bytes
from embedstep.data.facts import ColumnKind

_STREAMS: dict[ColumnKind, int] = {"text": 2, "texts": 3, "integer": 1, "number": 1, "numbers": 2}


class RowsDigest:
    """SHA-256 over rows that arrive in batches."""

    def __init__(self, kinds: Mapping[str, ColumnKind]) -> None:
        self._kinds = dict(kinds)
        self._hashers = {
            name: tuple(hashlib.sha256() for _ in range(_STREAMS[kind])) for name, kind in self._kinds.items()
        }

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch whose columns are complete and of their kinds' types."""
        for name, hashers in self._hashers.items():
            for hasher, values in zip(hashers, _streams(batch.column(name)), strict=True):
                hasher.update(values)

    def hexdigest(self) -> str:
        """Return the digest of all rows so far, of the columns' names and order, and of their kinds."""
        columns = [
            [name, self._kinds[name], *(hasher.hexdigest() for hasher in hashers)]
            for name, hashers in self._hashers.items()
        ]
        return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def _streams(array: pa.Array[Any]) -> Iterator[memoryview]:
    if isinstance(array, pa.ListArray):
        yield fixed_bytes(pc.list_value_length(array), 4)
        yield from _streams(array.flatten())
    elif isinstance(array, pa.StringArray):
        yield fixed_bytes(pc.binary_length(array), 4)
        yield _text_bytes(array)
    else:
        yield fixed_bytes(array, 8)


def _text_bytes(array: pa.StringArray) -> memoryview:
    _, offsets, text = array.buffers()
    if offsets is None or text is None or len(array) == 0:
        return memoryview(b"")
    starts = memoryview(offsets).cast("B").cast("i")
    return memoryview(text)[starts[array.offset] : starts[array.offset + len(array)]]
