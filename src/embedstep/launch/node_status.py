"""What the first node is doing, in a file next to the output folder for the other nodes: planning, training, ended.

The other nodes have nothing to do until the rows are prepared, which may take long, and must not wait for a first node
that was refused or found nothing to train. The file outlives the pods: one that is started again reads there how its
attempt has ended.
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
_POLL_SECONDS = 0.5
_HEARTBEAT_SECONDS = 5.0
_SILENCE_SECONDS = 60.0
"""Time without a heartbeat after which a planning first node counts as lost; shared file systems may lag behind."""
_PERMANENT = frozenset({REFUSED, OUT_OF_MEMORY})
"""Exit codes that the same request would end with again."""


class AttemptEndedError(CannotStartError):
    """This attempt has ended before, and is not to be started again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeStatus:
    """What the first node is doing.

    Attributes:
        state: what it does.
        pod: uid of the pod that it runs in.
        result: how it has ended; None before.
        start: identifies one start of its processes.
    """

    state: State
    pod: str
    result: StepResult | None
    start: str

    @property
    def is_interrupted(self) -> bool:
        """Whether it was interrupted, so that another start may resume."""
        return self.result is not None and self.result.exit_code == INTERRUPTED


@contextmanager
def announce_status(output: Path, node: NodeInfo) -> Iterator[Callable[[StepResult], None]]:
    """Announce that the first node plans and, on leaving, how it has ended: call the yielded function with the result.

    Raises:
        CannotStartError: the shared folder is not writable.
    """
    ended = StepResult(exit_code=FAILED, output=str(output))

    def end(result: StepResult) -> None:
        nonlocal ended
        ended = result

    write_status(output, node, "planning")
    done = threading.Event()
    if node != SINGLE_NODE:
        threading.Thread(target=_heartbeat, args=(output, done), daemon=True, name="heartbeat").start()
    try:
        yield end
    except EmbedstepError as error:
        ended = replace(ended, exit_code=error.exit_code, failure=failure_from_error(error))
        raise
    finally:
        done.set()
        write_status(output, node, "ended", ended)


def _heartbeat(output: Path, done: threading.Event) -> None:
    """Show the other nodes that this one is alive. They wait for a change, so clocks may differ."""
    with suppress(OSError):  # if the folder is gone, the next write that matters reports it
        while not done.wait(_HEARTBEAT_SECONDS):
            _heartbeat_file(output).write_text(uuid.uuid4().hex, encoding="utf-8")


def write_status(output: Path, node: NodeInfo, state: State, result: StepResult | None = None) -> None:
    """Write for the other nodes what the first one does; a single node writes nothing.

    Args:
        output: the output folder, which all nodes see.
        node: the first node.
        state: what it does.
        result: how it has ended; None before.

    Raises:
        CannotStartError: the shared folder is not writable.
    """
    if node == SINGLE_NODE:
        return
    ended = None if result is None else result.to_json()
    try:
        status = {"job": node.job, "pod": node.pod, "state": state, "result": ended, "start": uuid.uuid4().hex}
        write_json(_status_file(output), status)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise CannotStartError(f"{output.parent} cannot be written: {reason}") from None


def read_former_end(output: Path, node: NodeInfo) -> StepResult | None:
    """Return how this node has ended before, if another start would end in the same way.

    A cluster may restart a failed container (a restart policy) or a whole job (whose JobSet was deleted): GPUs would be
    held for a request that is refused again, or for a model that exists.

    Raises:
        AttemptEndedError: the attempt has failed in another pod, and nobody has asked for a new one.
    """
    status = _read_status(output, node.job)
    if status is None or status.result is None or status.is_interrupted:
        return None
    result = status.result
    if status.pod == node.pod:
        return result if result.exit_code in (OK, *_PERMANENT) else None
    if result.exit_code == OK:
        return result if OutputFolder(output).model.exists() else None
    raise AttemptEndedError(
        f"this attempt has ended with code {result.exit_code}, for the reason in {output}/result.json. "
        "For a new attempt use another name: embedstep manifest --attempt 2"
    )


def wait_for_start(output: Path, node: NodeInfo, seconds: float, joined: str = "") -> str | int:
    """Wait until the first node starts its processes, and return which start that is.

    Args:
        output: the output folder.
        node: this node.
        seconds: how long to wait for the first status, or for another start. Planning may take longer than that, as
            long as there are heartbeats.
        joined: the start that this node took part in and that is over; empty before the first.

    Returns:
        The start, or the exit code of the step if it has ended instead.

    Raises:
        CannotStartError: there was no sign of the first node for too long.
    """
    began = alive = time.monotonic()
    heartbeat = None
    while True:
        status, now = _read_status(output, node.job), time.monotonic()
        if (last := _read_heartbeat(output)) != heartbeat:
            heartbeat, alive = last, now
        # An interrupted first node is started again together with this one, unless both have begun.
        is_stale = status is None or (status.is_interrupted and not joined) or status.start == joined
        is_lost = status is not None and status.state == "planning" and now - alive > _SILENCE_SECONDS
        if is_lost or (is_stale and now - began > seconds):
            silence = _SILENCE_SECONDS if is_lost else seconds
            raise CannotStartError(
                f"no sign of node 0 ({node.address}) for {silence:.0f} s; does its pod run, and do both mount "
                f"{output.parent}?"
            )
        if status is not None and not is_stale:
            if status.state == "training":
                return status.start
            if status.result is not None:
                return status.result.exit_code
        time.sleep(_POLL_SECONDS)


def read_job_result(output: Path, job: str) -> StepResult | None:
    """Return how the first node of a job has ended, if the shared folder is mounted here and has its status."""
    status = _read_status(output, job)
    return None if status is None else status.result


def _read_status(output: Path, job: str) -> NodeStatus | None:
    """Return the first node's status; None if there is none yet, or only that of another job."""
    try:
        found: dict[str, Any] = read_json(_status_file(output))
        result = None if found["result"] is None else result_from_json(found["result"])
    except (OSError, ValueError):
        return None
    if found["job"] != job:
        return None
    return NodeStatus(state=found["state"], pod=found["pod"], result=result, start=found.get("start", ""))


def _read_heartbeat(output: Path) -> str | None:
    try:
        return _heartbeat_file(output).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _heartbeat_file(output: Path) -> Path:
    return output.with_name(f".{output.name}.heartbeat")


def _status_file(output: Path) -> Path:
    return output.with_name(f".{output.name}.nodes.json")
