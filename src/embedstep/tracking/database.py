"""Creating a local MLflow database, by one process at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedstep.errors import CannotStartError

_TIMEOUT = 60.0
"""Seconds that another process may hold the lock."""
_POLL = 0.05


def database_folder(uri: str) -> Path | None:
    """Return the folder of a local database, or None for another tracking URI."""
    return Path(uri.removeprefix("sqlite:///")).parent if uri.startswith("sqlite:////") else None


@contextmanager
def sqlite_lock(uri: str) -> Iterator[None]:
    """Lock the creation of a local database: if two processes create it at once, it cannot be opened afterwards.

    Args:
        uri: tracking URI; others than that of a local database need no lock.

    Raises:
        CannotStartError: another process holds the lock for too long.
    """
    if (folder := database_folder(uri)) is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    # The folder, because the database does not exist yet.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"{folder} was locked by another process for {_TIMEOUT:.0f} s; find it with lsof"
                raise CannotStartError(message) from None
            time.sleep(_POLL)
        else:
            return
