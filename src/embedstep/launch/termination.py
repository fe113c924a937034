"""The termination message: a file in which a container leaves its result, most of all the first cause of a failure."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedstep.errors import EmbedstepError
from embedstep.launch.failures import failure_from_error
from embedstep.output.result import StepResult

VARIABLE = "EMBEDSTEP_TERMINATION_MESSAGE"
"""Variable with the path of the file, for processes outside Kubernetes."""
_OF_KUBERNETES = "/dev/termination-log"
"""Where Kubernetes reads the termination message of a container, to show it in its API."""
_LONGEST = 4000
"""Bytes of a termination message; Kubernetes keeps 4096."""
_SHORTER = ((500, 4), (250, 2), (100, 1))
"""Characters of each message of a failure, and number of problems; the first pair that fits is used."""
_LEFT_OUT = ("ledger", "versions", "padding_share", "seconds", "cost", "metrics", "incomplete_tracking")
"""Fields that are left out, in this order, until the rest fits."""


@contextmanager
def termination_message(environ: Mapping[str, str]) -> Iterator[Callable[[StepResult], None]]:
    """Write the result that the yielded function is called with, or the error that is raised; on the first node only.

    Args:
        environ: the environment, which may name the file.
    """
    file = Path(environ.get(VARIABLE, _OF_KUBERNETES))

    def report_end(result: StepResult) -> None:
        if result.node_rank == 0:
            write_termination_message(result, file)

    try:
        yield report_end
    except EmbedstepError as error:
        write_termination_message(
            StepResult(exit_code=error.exit_code, output="", failure=failure_from_error(error)), file
        )
        raise


def read_cause(text: str) -> str:
    """Return the first cause of a failure from a termination message, in one line; empty if it has none."""
    try:
        failure = json.loads(text)["failure"] or {}
    except (ValueError, KeyError, TypeError):
        return ""
    return "; ".join(failure.get("problems") or [failure.get("message", "").partition("\n")[0]])


def write_termination_message(result: StepResult, file: Path) -> None:
    """Write a result as the termination message, shortened until it fits.

    Args:
        result: the result.
        file: the file; nothing is written unless it exists and is writable.
    """
    if not file.exists() or not os.access(file, os.W_OK):
        return
    message: dict[str, Any] = result.to_json()
    empty = StepResult(exit_code=0, output="").to_json()
    for name in (None, *_LEFT_OUT):
        message |= {} if name is None else {name: empty[name]}
        if _size(message) <= _LONGEST:
            break
    for longest, many in _SHORTER:
        if _size(message) > _LONGEST and message["failure"]:
            reason, problems = message["failure"]["message"], message["failure"]["problems"]
            short = {"message": reason[:longest], "problems": [one[:longest] for one in problems[:many]]}
            message["failure"] = {**message["failure"], **short, "traceback": (), "log": ()}
    file.write_text(_text(message), encoding="utf-8")


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)


def _size(message: Mapping[str, Any]) -> int:
    return len(_text(message).encode())
