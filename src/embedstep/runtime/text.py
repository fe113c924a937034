"""Text for people."""

import os
from pathlib import Path

from embedstep.errors import first_line
from embedstep.runtime.secrets import redact


def shorten(text: str, limit: int) -> str:
    """Put a text on one line of at most `limit` characters. Not by words, because some languages have no spaces."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def show_count(number: int | None) -> str:
    """Return a number for a table; empty for one that is unknown."""
    return "" if number is None else f"{number:,}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1: `1 train step`, `2 processes`.

    Args:
        number: how many there are.
        noun: the singular; its plural ends in s, es or ies.
    """
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "tch", "sh")):
        return f"{number:,} {noun}es"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("ry") else f"{number:,} {noun}s"


def redacted_first_line(error: BaseException) -> str:
    """Return the first line of a library's error without the secrets that its message may quote."""
    return redact(first_line(error), os.environ)


def format_bytes(amount: int) -> str:
    """Return an amount of bytes in megabytes or gigabytes, with one digit after the point."""
    return f"{amount / 1e9:.1f} GB" if amount >= 1e8 else f"{amount / 1e6:.1f} MB"


def format_seconds(seconds: float) -> str:
    """Return a time in seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def shown_path(path: Path) -> str:
    """Return a path as a person would write it: relative to the working directory where it is below that."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
