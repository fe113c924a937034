"""From the paths in a request to a list of files, each with its format, without opening any data.

A folder, a glob and a saved dataset are all short for a list of files; what they stand for is settled here, so that
reading deals with single files only.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

from embedstep.data.stores import Store, reaching, store_of
from embedstep.errors import InvalidRequestError, Problem

Format = Literal["parquet", "jsonl", "csv", "tsv", "arrow"]

_FORMATS: dict[str, Format] = {
    "parquet": "parquet",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "csv": "csv",
    "tsv": "tsv",
    "arrow": "arrow",
}
_GZIPPED: tuple[Format, ...] = ("jsonl", "csv", "tsv")
_KNOWN = ".parquet, .jsonl, .ndjson, .json, .csv, .tsv or .arrow (text also with .gz)"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One file with rows.

    Attributes:
        store: where it lies.
        path: its path there.
        format: how its rows are written.
        gzipped: whether the whole file is packed with gzip.
    """

    store: Store
    path: str
    format: Format
    gzipped: bool = False

    @property
    def name(self) -> str:
        """The path as a person would write it."""
        return self.store.shown(self.path)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the file for reading its unpacked bytes."""
        with self.store.open(self.path) as raw:
            if not self.gzipped:
                yield raw
                return
            with gzip.open(raw) as unpacked:
                yield cast(BinaryIO, unpacked)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """One path of a request while its files are looked up."""

    where: str
    given: str
    split: str | None
    store: Store

    def refused(self, message: str, key: str = "path") -> InvalidRequestError:
        return InvalidRequestError([Problem(f"{self.where}.{key}", message)])


def find_files(where: str, paths: Sequence[str], split: str | None) -> tuple[DataFile, ...]:
    """Return the files that `paths` stand for, in their order; the files of a folder or glob are sorted.

    Args:
        where: the dataset's place in the request, such as `data.train.docs`.
        paths: files, folders, globs, folders of a saved dataset, or fsspec URLs of these.
        split: which split of a saved dataset with several splits.

    Raises:
        InvalidRequestError: with a problem for each path that stands for no file, and for formats that are mixed.
        CannotStartError: a server with files could not be reached.
    """
    files: list[DataFile] = []
    problems: list[Problem] = []
    for given in paths:
        try:
            files.extend(_files_at(where, given, split))
        except InvalidRequestError as error:
            problems.extend(error.problems)
    problems.extend(_repeated(where, files))
    problems.extend(_mixed(where, files))
    if problems:
        raise InvalidRequestError(dict.fromkeys(problems))
    return tuple(files)


def _repeated(where: str, files: Sequence[DataFile]) -> list[Problem]:
    counts = Counter(file.name for file in files)
    return [
        Problem(f"{where}.path", f"{name} is named {count} times, so its rows would count {count} times")
        for name, count in counts.items()
        if count > 1
    ]


def _mixed(where: str, files: Sequence[DataFile]) -> list[Problem]:
    first = {file.format: file.name for file in reversed(files)}
    if len(first) < 2:
        return []
    found = ", ".join(f"{format_}: {first[format_]}" for format_ in sorted(first))
    message = f"the files are of several formats ({found}); one dataset takes one format, named by a glob for example"
    return [Problem(f"{where}.path", message)]


def _files_at(where: str, given: str, split: str | None) -> list[DataFile]:
    try:
        with reaching(where, given, local="://" not in given):
            store, path = store_of(where, given)
    except RuntimeError as error:  # `~somebody` without a home folder
        raise InvalidRequestError([Problem(f"{where}.path", f"{given} does not exist: {error}")]) from error
    search = _Search(where=where, given=given, split=split, store=store)
    with reaching(where, given, local=store.local):
        if store.is_folder(path):
            return _in_folder(search, path)
        if split is not None:
            raise search.refused(_split_for_nothing(given), "split")
        if store.is_file(path):
            return [_named_file(search, path)]
        if any(character in path for character in "*?["):
            return _matched(search, path)
        raise search.refused(f"{given} does not exist")


def _split_for_nothing(given: str) -> str:
    return f"split picks a part of a saved dataset with several splits, and {given} is none; leave split out"


def _named_file(search: _Search, path: str) -> DataFile:
    file = _data_file(search.store, path)
    if file is None:
        raise search.refused(f"{search.given} is of no known format; a file ends in {_KNOWN}")
    return file


def _matched(search: _Search, pattern: str) -> list[DataFile]:
    found = search.store.matches(pattern)
    files = _data_files(search.store, found)
    if not found:
        raise search.refused(f"{search.given} matches no file")
    if not files:
        raise search.refused(f"{search.given} matches no data file; a data file ends in {_KNOWN}")
    return files


def _in_folder(search: _Search, folder: str) -> list[DataFile]:
    names = search.store.file_names(folder)
    if "dataset_dict.json" in names:
        return _saved_rows(search, _split_folder(search, folder))
    if search.split is not None:
        raise search.refused(_split_for_nothing(search.given), "split")
    if "state.json" in names:
        return _saved_rows(search, folder)
    files = _data_files(search.store, [_joined(folder, name) for name in names])
    if not files:
        raise search.refused(f"the folder {search.given} holds no data file; a data file ends in {_KNOWN}")
    return files


def _split_folder(search: _Search, folder: str) -> str:
    splits = _described(search, _joined(folder, "dataset_dict.json"), "splits")
    listed = ", ".join(sorted(splits))
    if search.split is None:
        raise search.refused(f"{search.given} has several splits; name one of them: {listed}", "split")
    if search.split not in splits:
        raise search.refused(f"{search.given} has no split {search.split!r}; its splits are {listed}", "split")
    return _joined(folder, search.split)


def _saved_rows(search: _Search, folder: str) -> list[DataFile]:
    entries = _described(search, _joined(folder, "state.json"), "_data_files")
    return [
        DataFile(store=search.store, path=_joined(folder, entry["filename"]), format="arrow")
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("filename"), str)
    ]


def _described(search: _Search, path: str, key: str) -> list[Any]:
    """Return the list under `key` in a description that `datasets` has written."""
    with search.store.open(path) as source:
        text = source.read()
    try:
        listed = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        listed = None
    if not isinstance(listed, list) or not listed:
        raise search.refused(f"{search.store.shown(path)} does not describe a saved dataset: it lists no {key}")
    return listed


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _data_files(store: Store, paths: Sequence[str]) -> list[DataFile]:
    """Return the data files among `paths`; names with a leading dot or underscore are marks of other tools."""
    visible = [path for path in paths if not path.rsplit("/", 1)[-1].startswith((".", "_"))]
    return [file for path in visible if (file := _data_file(store, path)) is not None]


def _data_file(store: Store, path: str) -> DataFile | None:
    name = path.rsplit("/", 1)[-1] if store.local else path.split("?", 1)[0].rsplit("/", 1)[-1]
    stem, _, suffix = name.lower().rpartition(".")
    gzipped = suffix == "gz"
    format_ = _FORMATS.get(stem.rpartition(".")[2] if gzipped else suffix)
    if format_ is None or (gzipped and format_ not in _GZIPPED):
        return None
    return DataFile(store=store, path=path, format=format_, gzipped=gzipped)
