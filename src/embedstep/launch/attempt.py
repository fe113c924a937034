"""The processes of an attempt on this node: started, started again where the request allows it, and their end told."""

import os
import sys
import time
from dataclasses import asdict, replace

from embedstep.errors import FAILED, INTERRUPTED, OK, DivergedError, EmbedstepError, StepInterruptedError
from embedstep.launch.failures import failure_from_error, first_failure
from embedstep.launch.node_status import write_status
from embedstep.launch.nodes import NodeInfo
from embedstep.launch.resume import can_resume, find_resume_point, resume_at
from embedstep.launch.torchrun import build_launch_command
from embedstep.output.checkpoints import checkpoints_in
from embedstep.output.folder import OutputFolder
from embedstep.output.result import Failure, StepResult, read_json, result_from_json, write_json
from embedstep.planning.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.runtime.devices import Devices, usable_cores, visible_gpus
from embedstep.runtime.process import LaunchCommand, ProcessEnd, ReceivedSignal, run_process

_STARTED_AGAIN = frozenset({FAILED, INTERRUPTED})
"""Ends after which another start may come further: a lost rank or node, or what a rank raises, of a GPU too."""
_LEFT_ALONE = frozenset({DivergedError.__name__, StepInterruptedError.__name__})
"""Kinds of failures that have one of these codes, and are not started again."""


def this_machine() -> Devices:
    """Return what this machine has to compute on."""
    return Devices(gpus=visible_gpus(os.environ), cores=usable_cores())


def launch_on(
    node: NodeInfo, request: TrainRequest, folder: OutputFolder, *, processes: int, on_cpu: bool
) -> LaunchCommand:
    """Return the command and the environment of this node's processes.

    They hold the folder's lock too: if this process is killed, they may go on writing for a while.

    Args:
        node: the place of this node.
        request: the request.
        folder: the output folder, where the processes find their plan.
        processes: how many this node starts.
        on_cpu: whether they train on the CPU.
    """
    launch, output = request.launch, str(folder.path)
    planned = build_launch_command(
        ("embedstep.worker", output),
        report_to=output,
        node=node,
        own_folders=has_own_folders(request),
        join_timeout_seconds=60 * launch.meeting_minutes,
        grace_seconds=launch.seconds_to_save,
        processes=processes,
        on_cpu=on_cpu,
        devices=this_machine(),
        python=sys.executable,
        environ=os.environ,
    )
    return replace(planned, keep_open=() if folder.lock is None else (folder.lock,))


def has_own_folders(request: TrainRequest) -> bool:
    """Whether each of several nodes has an output folder of its own, on a disk that the others do not see."""
    return request.launch.nodes > 1 and request.arguments.save_on_each_node


def run_attempt(
    request: TrainRequest, plan: Plan, folder: OutputFolder, node: NodeInfo, received: ReceivedSignal
) -> StepResult:
    """Train this plan, on the first node of its group, and say how it ended.

    After an end that another start may come further than, all processes are started again from the last whole
    checkpoint, `launch.max_restarts` times at most; the other nodes hear of it.

    Args:
        request: the request.
        plan: its plan.
        folder: the output folder.
        node: the nodes.
        received: the signal that has come, as it comes while no process runs; one that comes meanwhile is added.
    """
    processes = plan.world_size // node.nodes
    launch = launch_on(node, request, folder, processes=processes, on_cpu=plan.on_cpu)
    restarts, began = 0, time.monotonic()
    first = latest = read_json(folder.start)["step"]
    while True:
        write_status(folder.path, node, "training")
        try:
            if received.number is not None:
                raise StepInterruptedError(received.number)
            end = run_process(launch)
            if end.signalled is not None:
                received.record(end.signalled, end.since)
            result = _outcome(folder, end)
            made = latest - first if result.exit_code == OK else 0  # by the starts before
            result = replace(result, restarts=restarts, train_steps=result.train_steps + made)
            if restarts >= request.launch.max_restarts or end.signalled or not may_come_further(result.failure):
                return result
            restarts += 1
            _say_again(result, restarts, request.launch.max_restarts)
            resumes = any(checkpoints_in(folder.checkpoints)) or can_resume(request, folder)
            start = find_resume_point(request, plan, folder, resumes=resumes)
            resume_at(folder, replace(start, elapsed_seconds=time.monotonic() - began))
            latest = start.step
            folder.forget_processes()
        except EmbedstepError as error:
            return replace(failed(folder, failure_from_error(error)), restarts=restarts)


def may_come_further(failure: Failure | None) -> bool:
    """Whether another start may: numbers go bad in the same way again, and who was told to end is not wanted here."""
    return failure is not None and failure.exit_code in _STARTED_AGAIN and failure.kind not in _LEFT_ALONE


def _say_again(result: StepResult, restarts: int, most: int) -> None:
    assert result.failure is not None
    first, *_ = result.failure.message.splitlines()
    sys.stderr.write(f"{first}; all processes are started again ({restarts} of {most})\n")
    sys.stderr.flush()


def _outcome(folder: OutputFolder, end: ProcessEnd) -> StepResult:
    """Turn the launcher's end into a result. A code of 0 counts only with a result and a model to show for it."""
    if end.code == OK and folder.worker_result.exists() and (folder.verified_model / "modules.json").exists():
        return result_from_json(read_json(folder.worker_result))
    return failed(folder, first_failure(folder, end))


def failed(folder: OutputFolder, failure: Failure) -> StepResult:
    """Write down why the step has failed."""
    write_json(folder.error, asdict(failure))
    return StepResult(exit_code=failure.exit_code, output=str(folder.path), failure=failure)
