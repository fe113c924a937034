"""Find duplicate rows of a dataset, and rows of a held-out dataset that are also in the training data.

Texts are compared in Unicode's NFKC form, in lower case and without white space. They are compared by 64-bit hashes, so
that no text has to be kept: among ten million rows, the probability of a collision is about 3 in a million.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from embedstep.data.facts import ColumnKind
from embedstep.data.roles import SLICE

Hashes = NDArray[np.uint64]
"""Hashes of the texts of one column, shape (rows,): XXH3, the same on every machine and day."""
_KEY = "anchor"
_BETWEEN = "\x1f"
_LOWER = bytes(range(256)).lower()
_SPACES = bytes(code for code in range(128) if chr(code).isspace() and chr(code) != _BETWEEN)
# 2**64 by the golden ratio: multiplying by it spreads similar hashes over all bits (Fibonacci hashing).
_ODD = np.uint64(0x9E3779B97F4A7C15)


class TextHashes:
    """Hashes the texts of all rows, batch by batch."""

    def __init__(self, kinds: Mapping[str, ColumnKind]) -> None:
        self._found: dict[str, list[Hashes]] = {
            name: [] for name, kind in kinds.items() if kind in ("text", "texts") and name != SLICE
        }

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch without empty cells."""
        for name, found in self._found.items():
            found.append(hash_texts(normalise_texts(batch.column(name))))

    def by_column(self) -> dict[str, Hashes]:
        """Return the hashes of all rows so far by column."""
        return {name: np.concatenate([np.empty(0, np.uint64), *found]) for name, found in self._found.items()}


def hash_texts(texts: Sequence[bytes]) -> Hashes:
    """Return the hash of each text, shape (texts,)."""
    return np.fromiter(map(xxh3_64_intdigest, texts), np.uint64, len(texts))


def normalise_texts(texts: pa.Array[Any]) -> list[bytes]:
    """Return each text in the form in which it is compared, a list of texts as one."""
    joined: Any = pc.binary_join(texts, _BETWEEN) if isinstance(texts, pa.ListArray) else texts
    is_ascii = pc.string_is_ascii(joined)
    if not pc.all(is_ascii).as_py():
        # Only these texts, as it takes several times as long as the rest. The stubs of pyarrow lack `utf8_normalize`.
        others = pc.invert(is_ascii)
        composed = pc.call_function("utf8_normalize", [joined.filter(others)], pc.Utf8NormalizeOptions("NFKC"))
        joined = pc.replace_with_mask(joined, others, pc.utf8_lower(composed))
    return [text.translate(_LOWER, _SPACES) for text in joined.cast(pa.binary()).to_pylist()]


def unique_rows(numbers: Mapping[str, Hashes]) -> NDArray[np.int64]:
    """Return the numbers of the rows that are no duplicates of an earlier row, in ascending order."""
    return np.sort(np.unique(_combine_hashes(list(numbers.values())), return_index=True)[1])


def count_duplicates(numbers: Mapping[str, Hashes]) -> int:
    """Count the rows with the same texts as an earlier row."""
    rows = _combine_hashes(list(numbers.values()))
    return len(rows) - len(sorted_unique(rows))


def sorted_unique(hashes: Hashes) -> Hashes:
    """Return each hash once, in ascending order."""
    # For a million hashes, `np.unique` of NumPy 2.4 takes 60 times as long.
    found = np.sort(hashes)
    is_first = np.concatenate([np.ones(min(len(found), 1), np.bool_), found[1:] != found[:-1]])
    return np.asarray(found[is_first])


def is_among(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Return for each hash whether it is among others.

    Args:
        hashes: any hashes, shape (rows,).
        known: the others, in ascending order.
    """
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    places = np.searchsorted(known, hashes)
    return np.asarray(known[np.minimum(places, len(known) - 1)] == hashes)


def anchors_in(datasets: Iterable[Mapping[str, Hashes]]) -> Hashes:
    """Return the hashes of the anchors of several datasets, sorted and each once, shape (anchors,)."""
    return sorted_unique(np.concatenate([np.empty(0, np.uint64), *(one[_KEY] for one in datasets if _KEY in one)]))


def overlapping_rows(held_out: Mapping[str, Hashes], seen: Hashes) -> NDArray[np.int64]:
    """Return the numbers of the rows of a held-out dataset whose anchor occurs in the training data.

    Only anchors are compared: a model that was trained on a question has seen it, whatever the answer was.

    Args:
        held_out: the hashes of the dataset.
        seen: what `anchors_in` returns for the training data.
    """
    if _KEY not in held_out:
        return np.empty(0, np.int64)
    # One search for each anchor: with many datasets, each costs what its own rows cost.
    return np.flatnonzero(is_among(held_out[_KEY], seen))


def _combine_hashes(columns: Sequence[Hashes]) -> Hashes:
    """Return one hash for each row from the hashes of its texts, in order."""
    together = np.zeros(len(columns[0]) if columns else 0, np.uint64)
    for column in columns:
        together = (together ^ column) * _ODD
        together ^= together >> np.uint64(29)
    return together
