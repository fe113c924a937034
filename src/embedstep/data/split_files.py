"""Which of some files are for training, and which were set apart for evaluation, as their names say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from embedstep.data.sources import DataFile, find_files, saved_splits

Item = TypeVar("Item")
_WORDS = {
    "train": ("train", "training"),
    "eval": ("validation", "valid", "val", "dev", "eval", "evaluation"),
    "test": ("test", "testing"),
}
"""What names of files and of splits say, by the split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFiles:
    """The files of one split.

    Attributes:
        paths: what a request names for them.
        files: the files.
        split: split of a saved dataset with several splits.
    """

    paths: tuple[str, ...]
    files: tuple[DataFile, ...]
    split: str | None = None


def find_splits(where: str, paths: Sequence[str]) -> dict[str, SplitFiles]:
    """Return the files of `paths` as `train`, and as `eval` and `test` where names say so.

    Without files for training, or without others, all are for training. With `test` alone, that is `eval`.

    Args:
        where: path of the dataset in the request, for problems.
        paths: files, folders, globs, folders of a saved dataset, or fsspec URLs of these.

    Raises:
        InvalidRequestError: there are no such files, or they have several formats.
        CannotStartError: a server with files could not be reached.
    """
    if len(paths) == 1 and (splits := saved_splits(where, paths[0])):
        saved = _by_split(splits, [split_of(split) or "train" for split in splits])
        return {
            name: SplitFiles(paths=tuple(paths), files=find_files(where, paths, one[0]), split=one[0])
            for name, one in saved.items()
        }
    files = find_files(where, paths, None)
    found = _by_split(files, [split_of(file.name) or "train" for file in files])
    if len(found) == 1:
        return {"train": SplitFiles(paths=tuple(paths), files=files)}
    return {name: SplitFiles(paths=tuple(file.name for file in one), files=tuple(one)) for name, one in found.items()}


def split_of(name: str) -> str | None:
    """Return `train`, `eval` or `test` where the name of a file, or else that of its folder, says so."""
    path = PurePosixPath(name)
    for part in (path.name, path.parent.name):
        words = re.split(r"[^a-z]+", part.lower())
        found = [split for split, known in _WORDS.items() if any(word in known for word in words)]
        if found:
            return found[0]
    return None


def _by_split(items: Sequence[Item], splits: Sequence[str]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item, split in zip(items, splits, strict=True):
        found.setdefault(split, []).append(item)
    if "train" not in found:
        return {"train": list(items)}
    if "eval" not in found and "test" in found:
        found["eval"] = found.pop("test")
    return found
