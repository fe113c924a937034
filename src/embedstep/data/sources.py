"""Resolve the paths of a dataset (files, folders, globs, saved datasets) to a list of files with their formats.

The data itself is not opened here.
"""

import bz2
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

from embedstep.data.delimited import CsvFormat
from embedstep.data.stores import Store, find_store, translate_store_errors
from embedstep.errors import InvalidRequestError, Problem, collect_problems

Format = Literal["parquet", "jsonl", "csv", "tsv", "text", "arrow", "workbook"]

_FORMATS: dict[str, Format] = {
    "parquet": "parquet",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "csv": "csv",
    "tsv": "tsv",
    "txt": "text",
    "arrow": "arrow",
    "xlsx": "workbook",
    "xls": "workbook",
    "xlsb": "workbook",
    "ods": "workbook",
}
_COMPRESSED: tuple[Format, ...] = ("jsonl", "csv", "tsv", "text")
FACTS = "_facts"
"""Folder with the facts of the Parquet files next to it (`shard_facts`)."""
_KNOWN = (
    ".parquet, .jsonl, .ndjson, .json, .csv, .tsv, .txt, .arrow, .xlsx, .xls, .xlsb or .ods "
    "(text also with .gz, .bz2 or .zst)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One file with rows.

    Attributes:
        store: the file system.
        path: its path there.
        format: its format.
        compression: suffix of the compression of the whole file: `gz`, `bz2`, `zst` or none.
        csv: how a delimited or plain text file is written, once that is known.
        unsaid: what `csv` has beyond a plain file and the request, as a request says it.
        is_document: a JSON file is not lines of objects, but one document with the rows in it.
        sheet: the sheet of a workbook, once that is known.
        rows_before: rows of a sheet up to its header, by which the numbers of rows in messages are the sheet's.
        origin: what the rows are called in messages, if they were fetched to this file.
    """

    store: Store
    path: str
    format: Format
    compression: str = ""
    csv: CsvFormat | None = None
    unsaid: str = ""
    is_document: bool = False
    sheet: str | None = None
    rows_before: int = 0
    origin: str | None = None

    @property
    def name(self) -> str:
        """The path for messages, a URL with its protocol; or the origin."""
        return self.origin or self.store.shown(self.path)

    @contextmanager
    def open_bytes(self) -> Iterator[BinaryIO]:
        """Open the file for reading its uncompressed bytes."""
        with self.store.open(self.path) as raw, _DECOMPRESS[self.compression](raw) as opened:
            yield cast(BinaryIO, opened)


def _zstd(raw: BinaryIO) -> Any:
    import pyarrow as pa

    return io.BufferedReader(cast(Any, pa.CompressedInputStream(pa.PythonFile(cast(Any, raw)), "zstd")))


_DECOMPRESS: Mapping[str, Callable[[BinaryIO], AbstractContextManager[Any]]] = {
    "": nullcontext,
    "gz": gzip.open,
    "bz2": bz2.open,
    "zst": _zstd,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """A path of a request while its files are being listed."""

    where: str
    given: str
    split: str | None
    store: Store

    def refused(self, message: str, key: str = "path") -> InvalidRequestError:
        return InvalidRequestError.at(f"{self.where}.{key}", message)


def find_files(where: str, paths: Sequence[str], split: str | None) -> tuple[DataFile, ...]:
    """List the files of `paths`, in their order; the files of a folder or glob are sorted.

    Args:
        where: path of the dataset in the request, such as `data.train.docs`.
        paths: files, folders, globs, folders of a saved dataset, or fsspec URLs of these.
        split: split of a saved dataset with several splits.

    Raises:
        InvalidRequestError: with a problem for each path without files, for repeated files and for mixed formats.
        CannotStartError: a server with files could not be reached.
    """
    files: list[DataFile] = []
    problems: list[Problem] = []
    for given in paths:
        with collect_problems(problems):
            files.extend(_find(where, given, split))
    problems.extend(_repeated_files(where, files))
    problems.extend(_mixed_formats(where, files))
    if problems:
        raise InvalidRequestError(dict.fromkeys(problems))
    return tuple(files)


def _repeated_files(where: str, files: Sequence[DataFile]) -> list[Problem]:
    counts = Counter(file.name for file in files)
    return [
        Problem(f"{where}.path", f"{name} is named {count} times, so its rows would count {count} times")
        for name, count in counts.items()
        if count > 1
    ]


def _mixed_formats(where: str, files: Sequence[DataFile]) -> list[Problem]:
    first = {file.format: file.name for file in reversed(files)}
    if len(first) < 2:
        return []
    found = ", ".join(f"{format_}: {first[format_]}" for format_ in sorted(first))
    message = f"the files have several formats ({found}); select the files of one format, for example by a glob"
    return [Problem(f"{where}.path", message)]


def _find(where: str, given: str, split: str | None) -> list[DataFile]:
    with translate_store_errors(where, given, local="://" not in given):
        store, path = find_store(where, given)
        return _list_files(_Search(where=where, given=given, split=split, store=store), path)


def _list_files(search: _Search, path: str) -> list[DataFile]:
    store, given = search.store, search.given
    is_folder = store.is_folder(path)
    names = store.file_names(path) if is_folder else []
    if "dataset_dict.json" in names:
        return _saved_rows(search, _split_folder(search, path))
    if search.split is not None:
        message = f"split is for saved datasets with several splits, and {given} is not one; remove split"
        if "[" in search.split:
            message += ", and write hold_out: {share: 0.1} in data.train to keep rows for the evaluation"
        raise search.refused(message, "split")
    if "state.json" in names:
        return _saved_rows(search, path)
    if is_folder:
        files, fault = _data_files(store, [_join(path, name) for name in names]), f"the folder {given} has no data file"
    elif store.is_file(path):
        # A file that is named itself may begin with a dot or an underscore.
        files, fault = [file for file in (_data_file(store, path),) if file], f"{given} has no known format"
    elif any(character in path for character in "*?["):
        if not (found := store.matches(path)):
            raise search.refused(f"{given} matches no file")
        files, fault = _data_files(store, found), f"{given} matches no data file"
    else:
        raise search.refused(f"{given} does not exist")
    if not files:
        raise search.refused(f"{fault}; use {_KNOWN}")
    return files


def saved_splits(where: str, given: str) -> list[str]:
    """Return the splits of a saved dataset with several, sorted; empty for any other path.

    Args:
        where: path of the dataset in the request, such as `data.train.docs`.
        given: a path or URL.

    Raises:
        InvalidRequestError: the folder does not say which splits it has.
        CannotStartError: a server could not be reached.
    """
    with translate_store_errors(where, given, local="://" not in given):
        store, path = find_store(where, given)
        described = _join(path, "dataset_dict.json")
        if not store.is_file(described):
            return []
        return sorted(
            _read_description(_Search(where=where, given=given, split=None, store=store), described, "splits")
        )


def _split_folder(search: _Search, folder: str) -> str:
    splits = _read_description(search, _join(folder, "dataset_dict.json"), "splits")
    listed = ", ".join(sorted(splits))
    if search.split is None:
        raise search.refused(f"{search.given} has several splits; name one of them: {listed}", "split")
    if search.split not in splits:
        raise search.refused(f"{search.given} has no split {search.split!r}; its splits are {listed}", "split")
    return _join(folder, search.split)


def _saved_rows(search: _Search, folder: str) -> list[DataFile]:
    entries = _read_description(search, _join(folder, "state.json"), "_data_files")
    return [
        DataFile(store=search.store, path=_join(folder, entry["filename"]), format="arrow")
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("filename"), str)
    ]


def _read_description(search: _Search, path: str, key: str) -> list[Any]:
    """Return the list under `key` in a JSON file of the library `datasets`."""
    with search.store.open(path) as source:
        text = source.read()
    try:
        listed = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        listed = None
    if not isinstance(listed, list) or not listed:
        raise search.refused(f"{search.store.shown(path)} does not describe a saved dataset: it lists no {key}")
    return listed


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _data_files(store: Store, paths: Sequence[str]) -> list[DataFile]:
    """Return the data files among `paths`, without the marker files of other tools (leading dot or underscore)."""
    visible = [path for path in paths if not path.rsplit("/", 1)[-1].startswith((".", "_"))]
    visible = [path for path in visible if f"/{FACTS}/" not in f"/{path}"]
    files = [file for path in visible if (file := _data_file(store, path)) is not None]
    # A text next to data is a note or a license.
    return [file for file in files if file.format != "text"] or files


def _data_file(store: Store, path: str) -> DataFile | None:
    name = path.rsplit("/", 1)[-1] if store.local else path.split("?", 1)[0].rsplit("/", 1)[-1]
    stem, _, suffix = name.lower().rpartition(".")
    compression = suffix if suffix in _DECOMPRESS else ""
    format_ = _FORMATS.get(stem.rpartition(".")[2] if compression else suffix)
    if format_ is None or (compression and format_ not in _COMPRESSED):
        return None
    return DataFile(store=store, path=path, format=format_, compression=compression)
