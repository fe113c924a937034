"""The first node: its processes, which the others join while it plans, and the record of how its step has ended.

The record is a file next to the output folder, so that it outlives the pods: one that is started again reads there how
its attempt has ended.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedstep.errors import FAILED, INTERRUPTED, OK, OUT_OF_MEMORY, REFUSED, CannotStartError, EmbedstepError
from embedstep.launch.failures import failure_from_error
from embedstep.launch.instructions import TRAIN
from embedstep.launch.nodes import SINGLE_NODE, NodeInfo
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult, read_json, result_from_json, write_json
from embedstep.runtime.process import (
    LaunchCommand,
    ProcessEnd,
    ReceivedSignal,
    on_signal,
    start_process,
    wait_for_process,
)

_PERMANENT = frozenset({REFUSED, OUT_OF_MEMORY})
"""Exit codes that the same request would end with again."""


class AttemptEndedError(CannotStartError):
    """This attempt has ended before, and is not to be started again."""


class FirstNode:
    """The first node of a step.

    Attributes:
        result: how the step has ended, for the record; a failure until it is set.
    """

    def __init__(self, command: LaunchCommand, output: Path, node: NodeInfo, *, may_restart: bool) -> None:
        """Start nothing yet.

        Args:
            command: the command of its processes.
            output: the output folder.
            node: its place among all.
            may_restart: whether the request allows restarts, so that others ask again after a failed training.
        """
        self.result = StepResult(exit_code=FAILED, output=str(output))
        self._command = command
        self._output = output
        self._node = node
        self._may_restart = may_restart
        self._processes: subprocess.Popen[bytes] | None = None
        self._end: ProcessEnd | None = None

    def start(self) -> None:
        """Start the processes, before it is known what to train.

        Other nodes join meanwhile, and the ranks of a single node import their libraries; they wait for `train`.

        Raises:
            CannotStartError: the interpreter could not be started.
        """
        if self._processes is None:
            self._processes = start_process(self._command)

    def train(self) -> ProcessEnd:
        """Let the ranks train, on all nodes, and wait for the end of those of this node; signals are forwarded to them.

        Raises:
            CannotStartError: the interpreter could not be started.
        """
        received = ReceivedSignal()
        with on_signal(received.record):
            self.start()
            self._end = self._instruct(TRAIN, received)
        return self._end

    def _instruct(self, instruction: str, received: ReceivedSignal) -> ProcessEnd:
        processes, self._processes = self._processes, None
        assert processes is not None
        assert processes.stdin is not None
        with suppress(BrokenPipeError):  # they have ended already, which their exit code says
            os.write(processes.stdin.fileno(), instruction.encode())
        return wait_for_process(processes, self._command, received)

    def _announce_end(self) -> None:
        """Record the result, and let other nodes know that nothing more is trained."""
        self.record(self.result)
        failed = self._end is not None and self._end.signalled is None and self.result.exit_code != OK
        if failed and self._may_restart and self._node.nodes > 1:
            self.start()  # the other nodes ask again
        if self._processes is None:
            return
        if self._node.nodes > 1:
            self._instruct(str(self.result.exit_code), ReceivedSignal())
        else:
            # They may still be importing; the kernel ends the ranks with them.
            with self._processes as processes:
                processes.kill()

    def record(self, result: StepResult | None) -> None:
        """Record how the step has ended, or that it has begun; nobody reads that of a single node.

        Raises:
            CannotStartError: the shared folder is not writable.
        """
        if self._node == SINGLE_NODE:
            return
        ended = None if result is None else result.to_json()
        try:
            write_json(_record_file(self._output), {"job": self._node.job, "pod": self._node.pod, "result": ended})
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise CannotStartError(f"{self._output.parent} cannot be written: {reason}") from None


@contextmanager
def first_node(command: LaunchCommand, output: Path, node: NodeInfo, *, may_restart: bool) -> Iterator[FirstNode]:
    """Let other nodes join, and on leaving record how the step has ended, and end what waits for a training.

    Args:
        command: the command of this node's processes.
        output: the output folder.
        node: this node, the first of all.
        may_restart: whether the request allows restarts.

    Raises:
        CannotStartError: the shared folder is not writable, or the interpreter could not be started.
    """
    first = FirstNode(command, output, node, may_restart=may_restart)
    first.record(None)
    if node.nodes > 1:
        first.start()
    try:
        yield first
    except EmbedstepError as error:
        first.result = replace(first.result, exit_code=error.exit_code, failure=failure_from_error(error))
        raise
    finally:
        first._announce_end()


def read_former_end(output: Path, node: NodeInfo) -> StepResult | None:
    """Return how this node has ended before, if another start would end in the same way.

    A cluster may restart a failed container (a restart policy) or a whole job (whose JobSet was deleted): GPUs would be
    held for a request that is refused again, or for a model that exists.

    Raises:
        AttemptEndedError: the attempt has failed in another pod, and nobody has asked for a new one.
    """
    found = _read_end(output, node.job)
    if found is None or found.result.exit_code == INTERRUPTED:
        return None
    result = found.result
    if found.pod == node.pod:
        return result if result.exit_code in (OK, *_PERMANENT) else None
    if result.exit_code == OK:
        return result if OutputFolder(output).model.exists() else None
    raise AttemptEndedError(
        f"this attempt has ended with code {result.exit_code}, for the reason in {output}/result.json. "
        "For a new attempt use another name: embedstep manifest --attempt 2"
    )


def read_job_result(output: Path, job: str) -> StepResult | None:
    """Return how the first node of a job has ended, if the shared folder is mounted here and has its record."""
    found = _read_end(output, job)
    return None if found is None else found.result


@dataclass(frozen=True, kw_only=True, slots=True)
class _End:
    """How the first node has ended, and the uid of the pod that it ran in."""

    pod: str
    result: StepResult


def _read_end(output: Path, job: str) -> _End | None:
    """Return how the first node has ended; None if it has not, or if the record is that of another job."""
    try:
        found: dict[str, Any] = read_json(_record_file(output))
        result = None if found["result"] is None else result_from_json(found["result"])
    except (OSError, ValueError):
        return None
    return None if result is None or found["job"] != job else _End(pod=found["pod"], result=result)


def _record_file(output: Path) -> Path:
    return output.with_name(f".{output.name}.nodes.json")
