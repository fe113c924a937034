"""A digest of a dataset's rows that does not depend on the file format or the size of batches.

Each column has hashers of its own, fed with values only: one with the lengths of its texts and lists, another with the
concatenated bytes of its texts. The lengths determine where each text begins, so moving text from one cell to the next
changes the digest.
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
from embedstep.runtime.digests import sha256_text

_STREAMS: dict[ColumnKind, int] = {"text": 2, "texts": 3, "integer": 1, "number": 1, "numbers": 2}


class RowsDigest:
    """SHA-256 of rows, computed batch by batch."""

    def __init__(self, kinds: Mapping[str, ColumnKind]) -> None:
        self._kinds = dict(kinds)
        self._hashers = {
            name: tuple(hashlib.sha256() for _ in range(_STREAMS[kind])) for name, kind in self._kinds.items()
        }

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch; its columns have no empty cells and the types of their kinds."""
        for name, hashers in self._hashers.items():
            for hasher, values in zip(hashers, _streams(batch.column(name)), strict=True):
                hasher.update(values)

    def hexdigest(self) -> str:
        """Return the digest of all rows so far and of the columns' names, order and kinds."""
        columns = [
            [name, self._kinds[name], *(hasher.hexdigest() for hasher in hashers)]
            for name, hashers in self._hashers.items()
        ]
        return sha256_text(json.dumps(columns))


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
