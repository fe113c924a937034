"""Tables and sentences in the width of the terminal; output to a pipe or a file keeps one line for each row."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

INDENT = 2
"""Spaces before each line of a section."""
GAP = "  "
"""What separates two columns."""
_NARROWEST_TERMINAL = 40
_NARROWEST_COLUMN = 16
_COMMAND = "mlflow ui "


def output_width() -> int | None:
    """Return the columns of the terminal; None where nothing is to be wrapped, so that each row stays one line.

    The variable COLUMNS counts also for a pipe or a file.
    """
    given = os.environ.get("COLUMNS", "")
    if not sys.stdout.isatty() and not (given.isdecimal() and int(given)):
        return None
    return max(shutil.get_terminal_size().columns, _NARROWEST_TERMINAL)


def wrap_lines(lines: Iterable[str]) -> list[str]:
    """Wrap sentences to the terminal; the further lines of each are indented."""
    width = output_width()
    if width is None:
        return list(lines)
    return [part for line in lines for part in _wrap(line, width - INDENT, GAP)]


def aligned(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Return one line for each row, with cells padded to the width of their column.

    Where the terminal is too narrow for that, the last column is wrapped. Where that is not enough, the rows of a table
    with headings are lists, one cell on each line.

    Args:
        rows: rows with the same number of cells. Of more than two columns the first row holds the headings.
        right: indices of the right-aligned columns.
    """
    width = output_width()
    return _fit(rows, right, None if width is None else width - INDENT)


def _fit(rows: Sequence[Sequence[str]], right: frozenset[int], available: int | None) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if not rows or available is None:
        return [_pad(row, widths, right) for row in rows]
    room = available - sum(widths[:-1]) - len(GAP) * len(widths[:-1])
    if widths[-1] > room:
        is_text = len(widths) - 1 not in right
        if len(widths) <= 2 or (is_text and room >= _NARROWEST_COLUMN):
            return list(_wrap_last(rows, widths, right, max(room, _NARROWEST_COLUMN)))
        return list(_list_rows(rows, available))
    return [_pad(row, widths, right) for row in rows]


def _pad(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    cells = zip(row, widths, strict=True)
    return GAP.join(
        cell.rjust(width) if place in right else cell.ljust(width) for place, (cell, width) in enumerate(cells)
    ).rstrip()


def _wrap_last(rows: Sequence[Sequence[str]], widths: Sequence[int], right: frozenset[int], room: int) -> Iterator[str]:
    widths = [*widths[:-1], room]
    for *cells, last in rows:
        first, *others = _wrap(last, room)
        yield _pad([*cells, first], widths, right)
        yield from (_pad([*("" for _ in cells), part], widths, right) for part in others)


def _list_rows(rows: Sequence[Sequence[str]], available: int) -> Iterator[str]:
    """Return the heading of the first column, and under each first cell the other headings with their cells."""
    (first_heading, *headings), *others = rows
    yield first_heading
    for first, *cells in others:
        yield first
        named = [(heading, cell) for heading, cell in zip(headings, cells, strict=True) if cell]
        yield from (GAP + line for line in _fit(named, frozenset(), available - len(GAP)))


def _wrap(text: str, width: int, further: str = "") -> list[str]:
    """Wrap a text between words. A command stays on one line, because people copy it."""
    if text.startswith(_COMMAND):
        return [text]
    return textwrap.wrap(
        text, width, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    ) or [""]  # fmt: skip
