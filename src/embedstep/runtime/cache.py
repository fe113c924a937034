"""Small records that are kept from one command to the next, one JSON file each.

Losing them costs time and nothing else: a folder that cannot be written keeps none, a record that cannot be read is
none, and several processes may write at once, because a file gets its name when it is complete.
"""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MOST_BYTES = 100_000_000
"""Size of the folder above which the records that were used least recently are removed."""
_PLACE = "EMBEDSTEP_CACHE"


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder with records.

    Attributes:
        folder: the folder, or None to keep nothing.
    """

    folder: Path | None

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

    def clear(self) -> int:
        """Remove all records and return the number of bytes that they took."""
        removed = 0
        for file, size, _ in list(self._records()):
            with suppress(OSError):
                file.unlink()
                removed += size
        return removed

    def size(self) -> tuple[int, int]:
        """Return the number of records and of their bytes."""
        sizes = [size for _, size, _ in self._records()]
        return len(sizes), sum(sizes)

    def _records(self) -> Iterator[tuple[Path, int, float]]:
        """Yield each file with its size in bytes and the time of its last use."""
        if self.folder is None or not self.folder.is_dir():
            return
        for file in self.folder.iterdir():
            with suppress(OSError):
                found = file.stat()
                yield file, found.st_size, found.st_mtime

    def _limit(self) -> None:
        records = sorted(self._records(), key=lambda record: record[2])
        total = sum(size for _, size, _ in records)
        for file, size, _ in records:
            if total <= _MOST_BYTES:
                return
            with suppress(OSError):
                file.unlink()
                total -= size


NO_CACHE = Cache(None)


def find_cache(environ: Mapping[str, str]) -> Cache:
    """Return the cache of this user: at EMBEDSTEP_CACHE, else with those of other programs; `off` keeps nothing.

    Args:
        environ: the environment of this process.
    """
    place = environ.get(_PLACE)
    if place:
        return Cache(None if place == "off" else Path(place))
    home = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else None)
    return Cache(None if home is None else Path(home) / "embedstep")
