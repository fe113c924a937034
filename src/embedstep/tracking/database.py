"""A local database of MLflow, which one process at once may make."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedstep.errors import CannotStartError

_LONGEST = 60.0
"""Seconds that another process may take to make it."""
_PAUSE = 0.05


@contextmanager
def sqlite_lock(uri: str) -> Iterator[None]:
    """Let one process at once make a local database: two that both do leave one that cannot be opened ever after.

    Args:
        uri: tracking URI; any but that of a local database is nothing to wait for.

    Raises:
        CannotStartError: another process holds it for too long.
    """
    if not uri.startswith("sqlite:////"):
        yield
        return
    folder = Path(uri.removeprefix("sqlite:///")).parent
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + _LONGEST
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                told = f"{folder} was locked by another process for {_LONGEST:.0f} s; lsof says by which"
                raise CannotStartError(told) from None
            time.sleep(_PAUSE)
        else:
            return
