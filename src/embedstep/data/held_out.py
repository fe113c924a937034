"""Which rows of a dataset are held out: those whose value has a hash in the lowest share of all hashes.

The hash depends on the value and the seed alone. So a value stays on its side while rows are added, in any order and in
any file; all rows of a value are on one side; and equal values of two datasets with one seed and share are on the same.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedstep.data.duplicates import normalise_texts
from embedstep.data.roles import GROUP, Role
from embedstep.errors import InvalidRequestError, Problem
from embedstep.runtime.text import count

if TYPE_CHECKING:
    from embedstep.request.datasets import HoldOut

_ALL = 2**64
_ROLES = ("anchor", "positive")


def is_held_out(values: pa.Array[Any], share: float, seed: int) -> NDArray[np.bool_]:
    """Return for each value whether it is held out, shape (values,).

    Args:
        values: texts or numbers; a list of texts counts as one. A text is the same as the number that it spells.
        share: share of all values, from 0 up to 1.
        seed: seed of the hash.
    """
    return _hashes(values, seed) < _end(share)


def deciding_role(where: str, hold_out: HoldOut, roles: tuple[Role, ...]) -> Role:
    """Return the role whose values decide: the anchor, the positive, or a group for another column.

    Args:
        where: path of the dataset in the request.
        hold_out: its section.
        roles: the roles of its columns.

    Raises:
        InvalidRequestError: the dataset has no such role, or the column has another one.
    """
    place, by = f"{where}.hold_out.by", hold_out.by
    if by in _ROLES:
        if (role := next((role for role in roles if role.name == by), None)) is None:
            raise InvalidRequestError.at(place, f"is {by}, and columns names no {by}; name what stays together")
        return role
    for role in roles:
        if role.column == by and role.key in (*_ROLES, "negative", "label"):
            remedy = f"write {role.key}" if role.key in _ROLES else "name a column without a role"
            raise InvalidRequestError.at(place, f"{by!r} is the column of the {role.key}; {remedy}")
    return Role(name=GROUP, key=GROUP, column=by)


class Division:
    """Divides the rows of a dataset batch by batch into those for training and those that are held out.

    Attributes:
        rows: rows so far.
        held_out: those of them that are held out.
    """

    def __init__(self, hold_out: HoldOut, column: str) -> None:
        self.rows = 0
        self.held_out = 0
        self._hold_out = hold_out
        self._column = column
        self._range = (_ALL, -1)

    def divide(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Return for each row of a batch whether it is held out, and count them."""
        hashes = _hashes(batch.column(self._column), self._hold_out.seed)
        found = hashes < _end(self._hold_out.share)
        low, high = self._range
        self._range = (min(low, int(hashes.min())), max(high, int(hashes.max())))
        self.rows += len(found)
        self.held_out += int(found.sum())
        # From a NumPy array, pyarrow would import pandas, which takes 0.2 s.
        bits = pa.py_buffer(np.packbits(found, bitorder="little").tobytes())
        return cast(pa.BooleanArray, pa.Array.from_buffers(pa.bool_(), len(found), [None, bits]))

    def problem(self, where: str) -> Problem | None:
        """Return what is wrong if one side has no row.

        Args:
            where: path of the dataset in the request.
        """
        if 0 < self.held_out < self.rows:
            return None
        place, share = f"{where}.hold_out.share", self._hold_out.share
        of = f"of {count(self.rows, 'row')}"
        low, high = self._range
        if low == high:
            by = self._hold_out.by if self._hold_out.by in _ROLES else f"value of {self._hold_out.by!r}"
            return Problem(place, f"holds out {'all' if self.held_out else 'none'} {of}: there is only one {by}")
        if self.held_out:
            remedy = f"all {of}; write {_share(low, high, math.floor)} or less"
        else:
            remedy = f"none {of}; write {_share(low, high, math.ceil)} or more"
        return Problem(place, f"is {share:g}, which holds out {remedy}")


def _end(share: float) -> np.uint64:
    """Return the lowest hash that is not held out."""
    return np.uint64(int(share * _ALL))


def _share(low: int, high: int, rounded: Callable[[float], int]) -> str:
    """Return the shortest share that holds out the lowest hash and not the highest, close to one of them."""
    end = (low if rounded is math.ceil else high) / _ALL
    for digits in range(2, 18):
        found = rounded(end * 10**digits) / 10**digits
        if 0 < found < 1 and low < int(found * _ALL) <= high:
            return f"{found:.{digits}f}".rstrip("0")
    return f"{end:g}"


def _hashes(values: pa.Array[Any], seed: int) -> NDArray[np.uint64]:
    salt = seed.to_bytes(8, "little", signed=True)
    digests = [blake2b(value, digest_size=8, salt=salt).digest() for value in _bytes(values)]
    return np.frombuffer(b"".join(digests), "<u8")


def _bytes(values: pa.Array[Any]) -> list[bytes]:
    if isinstance(values, pa.StringArray | pa.ListArray):
        return normalise_texts(values)
    # One file may have integers, and another, with an empty cell, the same numbers as floats.
    numbers: list[Any] = values.to_pylist()
    return [str(int(one) if float(one).is_integer() else one).encode() for one in numbers]
