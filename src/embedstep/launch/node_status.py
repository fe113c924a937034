"""What the first node of a group tells the others, in a file beside the output folder: it plans, trains, has ended.

The others have nothing to do until the rows are prepared, which takes as long as it takes; and they would wait for ever
for a first node that was refused, or found nothing to train. The file outlives the pods, so that one which is started
again knows how its attempt has ended.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from embedstep.errors import FAILED, INTERRUPTED, OK, OUT_OF_MEMORY, REFUSED, CannotStartError, EmbedstepError
from embedstep.launch.failures import failure_from_error
from embedstep.launch.nodes import SINGLE_NODE, NodeInfo
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult, read_json, result_from_json, write_json

State = Literal["planning", "training", "ended"]
_PAUSE = 0.5
_BEAT = 5.0
_SILENCE = 60.0
"""Seconds without a beat after which a first node that plans is lost: a file system that is shared may lag behind."""
_FOR_GOOD = frozenset({REFUSED, OUT_OF_MEMORY})
"""Ends that come again where nothing was changed."""


class AttemptEndedError(CannotStartError):
    """This attempt has ended before, and for good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """What the first node has told.

    Attributes:
        state: where it is.
        pod: the pod that it told it from.
        result: how it has ended, if it has.
        start: what tells one start of its processes from another.
    """

    state: State
    pod: str
    result: StepResult | None
    start: str

    @property
    def is_interrupted(self) -> bool:
        """Whether it has ended in a way that another start may go on from."""
        return self.result is not None and self.result.exit_code == INTERRUPTED


@contextmanager
def announce_status(output: Path, node: NodeInfo) -> Iterator[Callable[[StepResult], None]]:
    """Tell the others that the first node plans, and in the end how it has ended: call what is given with the result.

    Raises:
        CannotStartError: the shared folder does not let us write.
    """
    ended = StepResult(exit_code=FAILED, output=str(output))

    def end(result: StepResult) -> None:
        nonlocal ended
        ended = result

    write_status(output, node, "planning")
    done = threading.Event()
    if node != SINGLE_NODE:
        threading.Thread(target=_beat, args=(output, done), daemon=True, name="beat").start()
    try:
        yield end
    except EmbedstepError as error:
        ended = replace(ended, exit_code=error.exit_code, failure=failure_from_error(error))
        raise
    finally:
        done.set()
        write_status(output, node, "ended", ended)


def _beat(output: Path, done: threading.Event) -> None:
    """Show the others again and again that this node is alive; they go by the change, whatever their clocks say."""
    with suppress(OSError):  # a folder that is gone is told by whoever writes what matters
        while not done.wait(_BEAT):
            _beat_file(output).write_text(uuid.uuid4().hex, encoding="utf-8")


def write_status(output: Path, node: NodeInfo, state: State, result: StepResult | None = None) -> None:
    """Let the other nodes know where the first one is.

    Args:
        output: the output folder, which all nodes see.
        node: the nodes; where nobody has put one together there is nobody to tell.
        state: where it is.
        result: how it has ended, where it has.
    """
    if node == SINGLE_NODE:
        return
    ended = None if result is None else result.to_json()
    try:
        message = {"job": node.job, "pod": node.pod, "state": state, "result": ended, "start": uuid.uuid4().hex}
        write_json(_file(output), message)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise CannotStartError(f"{output.parent} cannot be written: {reason}") from None


def ended_before(output: Path, node: NodeInfo) -> StepResult | None:
    """Return how this node has ended before, where another start would end in the same way.

    A cluster may start a container again that has failed (a restart policy), or a whole job (whose JobSet was deleted):
    GPUs would be held for what was refused then and would be again, or for a model that is there.

    Raises:
        AttemptEndedError: it has failed in another pod; nobody has asked for another attempt.
    """
    message = _told(output, node)
    if message is None or message.result is None or message.result.exit_code == INTERRUPTED:
        return None
    if message.pod == node.pod:
        return message.result if message.result.exit_code in (OK, *_FOR_GOOD) else None
    if message.result.exit_code == OK:
        return message.result if OutputFolder(output).model.exists() else None
    raise AttemptEndedError(
        f"this attempt has ended with code {message.result.exit_code}; {output}/result.json says of what. "
        "Another one has another name: embedstep manifest --attempt 2"
    )


def wait_for_start(output: Path, node: NodeInfo, seconds: float, joined: str = "") -> str | int:
    """Wait until the first node starts its processes, and say which start it is.

    Args:
        output: the output folder.
        node: the nodes.
        seconds: how long to wait for its first word, or for another start; while it plans it may take as long as its
            data does, if it is alive.
        joined: the start that this node was part of, and that is over.

    Returns:
        The start, or the exit code of the step where it has ended instead.

    Raises:
        CannotStartError: nothing was heard of it.
    """
    began = beaten = time.monotonic()
    beat = None
    while True:
        message, now = _told(output, node), time.monotonic()
        if (last := _last_beat(output)) != beat:
            beat, beaten = last, now
        # One that was interrupted is started again with this node, unless both have begun.
        is_silent = message is None or (message.is_interrupted and not joined) or message.start == joined
        is_lost = message is not None and message.state == "planning" and now - beaten > _SILENCE
        if is_lost or (is_silent and now - began > seconds):
            silence = _SILENCE if is_lost else seconds
            raise CannotStartError(
                f"node 0 ({node.address}) has not been heard of for {silence:.0f} s; does its pod run, and do both "
                f"mount {output.parent}?"
            )
        if message is not None and not is_silent:
            if message.state == "training":
                return message.start
            if message.result is not None:
                return message.result.exit_code
        time.sleep(_PAUSE)


def read_job_result(output: Path, job: str) -> StepResult | None:
    """Return how the first node of a job has ended, where the shared folder is mounted here and says so."""
    message = _told(output, NodeInfo(nodes=1, rank=0, address="", port=0, job=job))
    return None if message is None else message.result


def _told(output: Path, node: NodeInfo) -> _Told | None:
    try:
        found: dict[str, Any] = read_json(_file(output))
        result = None if found["result"] is None else result_from_json(found["result"])
    except (OSError, ValueError):
        return None
    if found["job"] != node.job:
        return None  # an earlier attempt
    return _Told(state=found["state"], pod=found["pod"], result=result, start=found.get("start", ""))


def _last_beat(output: Path) -> str | None:
    try:
        return _beat_file(output).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _beat_file(output: Path) -> Path:
    return output.with_name(f".{output.name}.beat")


def _file(output: Path) -> Path:
    return output.with_name(f".{output.name}.nodes.json")
