"""What is kept from one command to the next: small records, one JSON file each, and sets of files, one folder each.

Losing them costs time and nothing else: a folder that cannot be written keeps none, what cannot be read is none, and
several processes may write at once, because a record or a folder gets its name when it is complete.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.runtime.digests import xxh3_file

_MOST_BYTES = 10_000_000_000
"""Size of the folder above which what was used least recently is removed."""
_MOST_OF_FREE_SPACE = 0.1
"""Share of the free disk space that one set of files may take."""
_ABOUT = "about.json"
_PLACE = "EMBEDSTEP_CACHE"


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder with records.

    Attributes:
        folder: the folder, or None to keep nothing.
        is_named: whether the user has named it. Only then are files copied to it from another disk: the default folder
            of a container is on a disk that ends with it, and that may be too small for them.
    """

    folder: Path | None
    is_named: bool = False

    def read(self, key: str) -> dict[str, Any] | None:
        """Return a record, or None where there is none."""
        if self.folder is None:
            return None
        file = self.folder / f"{key}.json"
        try:
            found: dict[str, Any] = json.loads(file.read_bytes())
            os.utime(file)  # used just now
        except (OSError, ValueError):
            return None
        return found

    def write(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record, and remove old ones where there are too many."""
        if self.folder is None:
            return
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = self.folder / f".{uuid.uuid4().hex}"
            partial.write_text(json.dumps(record))
            partial.replace(self.folder / f"{key}.json")
            self._limit()

    def keep(self, key: str, files: Mapping[str, Path], about: Any = None) -> None:
        """Keep files under a key, in place of those that it has; as hard links where the disk is the same.

        Nothing is kept from another disk unless the folder `is_named`, and nothing where it has no room.

        Args:
            key: the key.
            files: the files by their names, which are not changed any more.
            about: what `about` returns, as JSON.
        """
        if self.folder is None:
            return
        with suppress(OSError):
            if not self.has_room(files.values()):
                return
            partial = self.folder / f".{uuid.uuid4().hex}"
            try:
                partial.mkdir(mode=0o700)
                for name, file in files.items():
                    if self.is_named:
                        _link_or_copy(file, partial / name)
                    else:
                        (partial / name).hardlink_to(file)
                digests = {name: xxh3_file(partial / name) for name in files}
                record = {"about": about, "files": digests, "set": partial.name}
                (partial / _ABOUT).write_text(json.dumps(record))
                self.forget(key)
                partial.rename(self.folder / key)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            self._limit()

    def has_room(self, files: Iterable[Path]) -> bool:
        """Whether files may be kept: they take less than 10 GB and than a tenth of the free disk space.

        Args:
            files: the files.

        Raises:
            OSError: one does not exist, or the folder cannot be made.
        """
        if self.folder is None:
            return False
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        return sum(file.stat().st_size for file in files) <= min(_MOST_BYTES, _MOST_OF_FREE_SPACE * free)

    def about(self, key: str) -> Any:
        """Return what was said of the files of a key; None where there are none."""
        found = self._about(key)
        return None if found is None else found["about"]

    def restore(self, key: str, place: Callable[[str], Path], *, copies: bool = False) -> bool:
        """Put the files of a key where they are wanted, and return whether all are there as they were.

        Args:
            key: the key.
            place: returns where a file of a name goes; one that is there is replaced.
            copies: copy the files, because they are going to be changed.
        """
        found = self._about(key)
        if self.folder is None or found is None:
            return False
        kept = {name: self.folder / key / name for name in found["files"]}
        try:
            os.utime(self.folder / key)  # used just now
            if any(xxh3_file(kept[name]) != digest for name, digest in found["files"].items()):
                self.forget(key)
                return False
            for name, file in kept.items():
                place(name).unlink(missing_ok=True)
                (shutil.copyfile if copies else _link_or_copy)(file, place(name))
            if self._about(key) != found:
                raise FileNotFoundError(key)  # others took their place meanwhile, and some of these are theirs
        except OSError:  # removed meanwhile, or the disk is full
            for name in kept:
                place(name).unlink(missing_ok=True)
            return False
        return True

    def forget(self, key: str) -> None:
        """Remove the files of a key."""
        if self.folder is not None:
            _remove(self.folder / key)

    def clear(self) -> int:
        """Remove all that is kept and return the number of bytes that it took."""
        return sum(size for place, size, _ in list(self._kept()) if _remove(place))

    def size(self) -> tuple[int, int]:
        """Return the number of records and sets of files, and of their bytes."""
        sizes = [size for _, size, _ in self._kept()]
        return len(sizes), sum(sizes)

    def _about(self, key: str) -> dict[str, Any] | None:
        if self.folder is None:
            return None
        try:
            found: dict[str, Any] = json.loads((self.folder / key / _ABOUT).read_bytes())
        except (OSError, ValueError):
            return None
        return found

    def _kept(self) -> Iterator[tuple[Path, int, float]]:
        """Yield each record and each folder with its size in bytes and the time of its last use."""
        if self.folder is None or not self.folder.is_dir():
            return
        for place in self.folder.iterdir():
            with suppress(OSError):
                files = [place] if place.is_file() else list(place.iterdir())
                yield place, sum(file.stat().st_size for file in files), place.stat().st_mtime

    def _limit(self) -> None:
        kept = sorted(self._kept(), key=lambda item: item[2])
        total = sum(size for _, size, _ in kept)
        for place, size, _ in kept:
            if total <= _MOST_BYTES:
                return
            if _remove(place):
                total -= size


NO_CACHE = Cache(None)


def _link_or_copy(file: Path, target: Path) -> None:
    try:
        target.hardlink_to(file)
    except OSError:  # another disk, or one without links
        shutil.copyfile(file, target)


def _remove(place: Path) -> bool:
    """Remove a record or a folder, and return whether that was done; a folder loses its name first."""
    try:
        if place.is_dir():
            unnamed = place.rename(place.with_name(f".{uuid.uuid4().hex}"))
            shutil.rmtree(unnamed)
        else:
            place.unlink()
    except OSError:
        return False
    return True


def find_cache(environ: Mapping[str, str]) -> Cache:
    """Return the cache of this user: at EMBEDSTEP_CACHE, else with those of other programs; `off` keeps nothing.

    Args:
        environ: the environment of this process.
    """
    place = environ.get(_PLACE)
    if place:
        return Cache(None if place == "off" else Path(place), is_named=True)
    home = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else None)
    return Cache(None if home is None else Path(home) / "embedstep")
