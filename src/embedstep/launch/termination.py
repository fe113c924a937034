"""What a program says of its end to whatever has started it, in a file that outlives it: the first cause above all."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedstep.errors import EmbedstepError
from embedstep.launch.failures import failure_from_error
from embedstep.output.result import StepResult

VARIABLE = "EMBEDSTEP_LAST_WORDS"
"""Variable that names the file, for whoever starts a program elsewhere."""
_OF_KUBERNETES = "/dev/termination-log"
"""Where Kubernetes takes what a container has to say about its end, for its API to show."""
_LONGEST = 4000
"""Bytes of that which Kubernetes keeps: 4096."""
_SHORTER = ((500, 4), (250, 2), (100, 1))
"""Characters of each sentence of a failure, and problems, of which the first that fits is taken."""
_LEFT_OUT = ("ledger", "versions", "padding_share", "seconds", "cost", "metrics", "incomplete_tracking")
"""What is left out of it, in this order, where all is too long."""


@contextmanager
def termination_message(environ: Mapping[str, str]) -> Iterator[Callable[[StepResult], None]]:
    """Leave the result that what is given is called with, or else the error that is raised.

    Of several nodes only the first one has something to say.

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


def read_cause(words: str) -> str:
    """Return the first cause of a failure from last words, in one line; empty where they say none."""
    try:
        failure = json.loads(words)["failure"] or {}
    except (ValueError, KeyError, TypeError):
        return ""
    return "; ".join(failure.get("problems") or [failure.get("message", "").partition("\n")[0]])


def write_termination_message(result: StepResult, file: Path) -> None:
    """Leave a result where the API of Kubernetes shows it, as much of it as goes in.

    Args:
        result: the result.
        file: where the container may write its last words; where it cannot, nobody reads them.
    """
    if not file.exists() or not os.access(file, os.W_OK):
        return
    words: dict[str, Any] = result.to_json()
    empty = StepResult(exit_code=0, output="").to_json()
    for name in (None, *_LEFT_OUT):
        words |= {} if name is None else {name: empty[name]}
        if _size(words) <= _LONGEST:
            break
    for longest, many in _SHORTER:
        if _size(words) > _LONGEST and words["failure"]:
            message, problems = words["failure"]["message"], words["failure"]["problems"]
            short = {"message": message[:longest], "problems": [one[:longest] for one in problems[:many]]}
            words["failure"] = {**words["failure"], **short, "traceback": (), "log": ()}
    file.write_text(_text(words), encoding="utf-8")


def _text(words: Mapping[str, Any]) -> str:
    return json.dumps(words, ensure_ascii=False)


def _size(words: Mapping[str, Any]) -> int:
    return len(_text(words).encode())
