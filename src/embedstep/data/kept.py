"""Prepared rows and token ids from one run to the next: of the same files, and of the same rows.

A run that starts keeps nothing, because its first step would wait for that. When it has ended, its files become those
of the next run: hard links, where the cache is on the same disk.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path

from embedstep.data.facts import DatasetRecord, rows_file
from embedstep.data.hub import named_datasets
from embedstep.data.stores import LocalStore, Stamp
from embedstep.data.token_files import TokenFiles
from embedstep.data.unchanged import SourceFile
from embedstep.output.result import write_json
from embedstep.request.schema import TrainRequest
from embedstep.runtime.cache import Cache
from embedstep.runtime.digests import xxh3_file

_SOURCES = "sources.json"


def note_sources(request: TrainRequest, key: str, sources: Sequence[SourceFile], written: Path) -> None:
    """Note in a folder which files its rows are going to be read from, for `keep_prepared`, if rows of such are kept.

    Args:
        request: a request with local datasets only.
        key: from `facts_key`.
        sources: its files.
        written: folder of the rows.
    """
    if any(dataset.corpus is not None for _, _, dataset in named_datasets(request)):
        return
    if not all(source.file.store.local for source in sources):
        return  # reading files of a store again for their digests would take as long as the rows
    files = {source.file.path: astuple(source.stamp) for source in sources}
    write_json(written / _SOURCES, {"key": key, "files": files})


def keep_prepared(cache: Cache, written: Path, datasets: Sequence[DatasetRecord]) -> None:
    """Keep the rows in a folder and their token ids for the next run.

    Args:
        cache: where they are kept.
        written: the folder.
        datasets: the datasets of the rows.
    """
    if cache.folder is not None:
        _keep_rows(cache, written, datasets)
        _keep_tokens(cache, written, datasets)


def restore_rows(cache: Cache, key: str, write_to: Path) -> bool:
    """Put kept rows into a folder and return True, if the files that they come from have the content that they had.

    Args:
        cache: where rows are kept.
        key: from `facts_key`.
        write_to: the folder.
    """
    content = cache.about(key)
    try:
        if content is None or any(xxh3_file(Path(file)) != digest for file, digest in content.items()):
            return False
    except OSError:  # reported where the files are read
        return False
    return cache.restore(key, lambda name: write_to / name)


def restore_tokens(cache: Cache, written: Path, datasets: Iterable[DatasetRecord]) -> None:
    """Put kept token ids next to some rows.

    Args:
        cache: where they are kept.
        written: folder of the rows.
        datasets: their datasets.
    """
    for item in datasets:
        files = TokenFiles(written / rows_file(item.split, item.name))
        cache.restore(f"tokens-{item.fingerprint}", files.place, copies=True)  # which the run adds to


def _keep_rows(cache: Cache, written: Path, datasets: Iterable[DatasetRecord]) -> None:
    """Keep the rows, unless a file that they come from has changed since it was read."""
    from embedstep.data.recorded_anchors import FILE  # which imports NumPy, as nothing does for an unchanged check

    names = [*(rows_file(item.split, item.name) for item in datasets), FILE]
    files = {name: written / name for name in names if (written / name).exists()}
    try:
        noted = json.loads((written / _SOURCES).read_bytes())
        if not cache.has_room(files.values()):
            return
        content = {file: xxh3_file(Path(file)) for file in noted["files"]}
        if any(LocalStore().stamp(file) != Stamp(*stamp) for file, stamp in noted["files"].items()):
            return
    except OSError:  # nothing was noted, as these rows are kept already, or a file is gone
        return
    cache.keep(noted["key"], files, content)


def _keep_tokens(cache: Cache, written: Path, datasets: Iterable[DatasetRecord]) -> None:
    for item in datasets:
        if files := TokenFiles(written / rows_file(item.split, item.name)).written():
            cache.keep(f"tokens-{item.fingerprint}", files)
