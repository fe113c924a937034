"""Progress of the preparation: a bar on a terminal, one line in the log of a pod."""

import sys
from collections.abc import Iterator, Sequence

import click

_LEAST_PARTS = 10
"""Number of parts from which progress is shown; fewer take less than a second."""


def with_progress(label: str, parts: Sequence[int]) -> Iterator[int]:
    """Yield the parts of a task, and show on standard error how many are done.

    Args:
        label: the task, such as `tokenizing 1,000 texts`.
        parts: parts of about equal duration.
    """
    if len(parts) < _LEAST_PARTS:
        yield from parts
        return
    with click.progressbar(parts, label=label, file=sys.stderr) as bar:
        yield from bar
