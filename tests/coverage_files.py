"""Remove data files of coverage that are not whole: `python -m tests.coverage_files FOLDER`, before `coverage combine`.

Tests kill processes, limit the size of their files and fill disks. coverage writes its SQLite files without a journal,
so that one of a process that was killed meanwhile is malformed, and `coverage combine` ends at its first such page.
"""

import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_WRITTEN = re.compile(r"\.H\w+h$")
"""Ending of a name: coverage adds a digest of the data when it has written all of them."""


def incomplete(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the data files that cannot be combined, and why."""
    for file in sorted(folder.glob("data.*")):
        if not _WRITTEN.search(file.name):
            yield file, "its process ended before it was written"
        elif problem := _problem(file):
            yield file, problem


def _problem(file: Path) -> str:
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            (found,) = database.execute("pragma quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else str(found)


def main(folder: Path) -> None:
    """Remove the incomplete files, and say which, and of how many."""
    count = len(list(folder.glob("data.*")))
    removed = list(incomplete(folder))
    for file, reason in removed:
        print(f"left out: {file.name}: {reason}")  # noqa: T201
        file.unlink()
    print(f"{count - len(removed)} of {count} processes are counted")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
