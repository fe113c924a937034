"""The anchors that a model was trained on, as hashes in one file with the model: 8 bytes for each different anchor.

A model that is compared on rows which it was trained on scores too high. Its own run kept those rows apart, but next
week's rows are others; by this file they are still recognised.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedstep.errors import CannotStartError

if TYPE_CHECKING:
    from embedstep.data.duplicates import Hashes

FILE = "training_anchors.npy"
_NAMED = np.dtype([("xxh3-64", "<u8")])
"""NumPy writes the name of the field into the header of the file: which hash it is. A later release with another hash
has another name, and the files of each are not mixed up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenAnchors:
    """How many anchors of held-out rows a model was trained on.

    Attributes:
        anchors: different anchors of the rows.
        seen: those of them that the model was trained on.
    """

    anchors: int
    seen: int


def write_anchors(folder: Path, hashes: Iterable[Hashes]) -> None:
    """Write the file to a folder, with each hash once and in ascending order; without any there is no file.

    Args:
        folder: folder of a model, or of what becomes one.
        hashes: hashes of anchors (`TextHashes`), shape (rows,) each.

    Raises:
        CannotStartError: the disk is full.
    """
    from embedstep.data.duplicates import sorted_unique

    if (found := [np.asarray(one) for one in hashes]) and len(different := sorted_unique(np.concatenate(found))):
        try:
            np.save(folder / FILE, different.astype("<u8").view(_NAMED), allow_pickle=False)
        except OSError as error:
            raise CannotStartError(f"the hashes of anchors cannot be kept in {folder / FILE}: {error}") from error


def read_anchors(folder: Path) -> Hashes | None:
    """Return the hashes in a folder, in ascending order, shape (anchors,); None if it has no file of this kind."""
    try:
        found = np.load(folder / FILE, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found.view(np.uint64) if found.dtype == _NAMED and found.ndim == 1 else None


def merge_anchors(to: Path, *folders: Path) -> None:
    """Write the file to a folder with the hashes of all files in some folders.

    Args:
        to: folder to write to.
        folders: folder of the own hashes first, then those of the models that the training started from: what they
            were trained on, the new model was, too. Without own hashes nothing is written.
    """
    own, *others = map(read_anchors, folders)
    if own is not None:
        write_anchors(to, [own, *(one for one in others if one is not None)])


def count_seen(held_out: Hashes, recorded: Hashes) -> SeenAnchors:
    """Count the different anchors of held-out rows, and those of them that are among recorded hashes.

    Args:
        held_out: hashes of the anchors, shape (rows,).
        recorded: recorded hashes in ascending order, shape (anchors,).
    """
    from embedstep.data.duplicates import is_among, sorted_unique

    different = sorted_unique(held_out)
    return SeenAnchors(anchors=len(different), seen=int(is_among(different, recorded).sum()))
