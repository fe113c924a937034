"""Progress of the preparation, for a person: a bar on a terminal, one line in the log of a pod."""

import sys
from collections.abc import Iterator, Sequence

import click

_LONG = 10
"""Parts from which the work takes seconds."""


def watched(what: str, parts: Sequence[int]) -> Iterator[int]:
    """Yield the parts of a long work and show on standard error how many of them are done; a short one is not shown.

    Args:
        what: the work, in words.
        parts: the parts, which take about the same time.
    """
    if len(parts) < _LONG:
        yield from parts
        return
    with click.progressbar(parts, label=what, file=sys.stderr) as bar:
        yield from bar
