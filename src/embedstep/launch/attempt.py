"""One attempt on the first node: start the processes, restart them if the request allows it, return the result."""

import os
import sys
import time
from dataclasses import asdict, replace

from embedstep.errors import OK, EmbedstepError, StepInterruptedError
from embedstep.launch.failures import failure_from_error, first_failure, is_retryable
from embedstep.launch.first_node import FirstNode
from embedstep.launch.nodes import NodeInfo
from embedstep.launch.resume import can_resume, find_resume_point, resume_at
from embedstep.launch.torchrun import build_launch_command, node_devices, processes_per_node
from embedstep.output.checkpoints import checkpoints_in
from embedstep.output.folder import OutputFolder
from embedstep.output.result import Failure, StepResult, read_json, result_from_json, write_json
from embedstep.planning.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.runtime.devices import Devices, usable_cores, visible_gpus
from embedstep.runtime.log import say
from embedstep.runtime.process import LaunchCommand, ProcessEnd, ReceivedSignal


def this_machine() -> Devices:
    """Return the GPUs and CPU cores that this process may use."""
    return Devices(gpus=visible_gpus(os.environ), cores=usable_cores())


def build_node_command(node: NodeInfo, request: TrainRequest, folder: OutputFolder) -> LaunchCommand:
    """Return the command and the environment of this node's processes.

    They inherit the folder's lock: if this process is killed, they may still write for a while.

    Args:
        node: this node among all.
        request: the request.
        folder: the output folder with the plan.
    """
    launch, output, here = request.launch, str(folder.path), this_machine()
    planned = build_launch_command(
        ("embedstep.worker", output),
        report_to=output,
        node=node,
        own_folders=has_own_folders(request),
        join_timeout_seconds=60 * launch.join_timeout_minutes,
        grace_seconds=launch.seconds_to_save,
        max_restarts=launch.max_restarts,
        processes=processes_per_node(request, here),
        on_cpu=request.arguments.use_cpu or node_devices(launch, here).gpus == 0,
        devices=here,
        python=sys.executable,
        environ=os.environ,
    )
    return replace(planned, keep_open=() if folder.lock is None else (folder.lock,))


def has_own_folders(request: TrainRequest) -> bool:
    """Whether each of several nodes has its own output folder, on a disk that the others do not see."""
    return request.launch.nodes > 1 and request.arguments.save_on_each_node


def run_attempt(
    request: TrainRequest, plan: Plan, folder: OutputFolder, first_node: FirstNode, received: ReceivedSignal
) -> StepResult:
    """Train a plan as the first node, and return how that ended.

    After a failure that a restart may help, all processes of all nodes are started again from the last complete
    checkpoint, at most `launch.max_restarts` times.

    Args:
        request: the request.
        plan: its plan.
        folder: the output folder.
        first_node: this node.
        received: holds the first signal that came while no process ran; one that comes later is recorded there, too.
    """
    restarts, began = 0, time.monotonic()
    first = latest = read_json(folder.start)["step"]
    while True:
        try:
            if received.number is not None:
                raise StepInterruptedError(received.number)
            end = first_node.train()
            if end.signalled is not None:
                received.record(end.signalled, end.since)
            result = _read_outcome(folder, end)
            made = latest - first if result.exit_code == OK else 0  # in earlier starts
            result = replace(result, restarts=restarts, train_steps=result.train_steps + made)
            if restarts >= request.launch.max_restarts or end.signalled or not is_retryable(result.failure):
                return result
            restarts += 1
            _announce_restart(result, restarts, request.launch.max_restarts)
            first_node.start()
            resumes = any(checkpoints_in(folder.checkpoints)) or can_resume(request, folder)
            start = find_resume_point(request, plan, folder, resumes=resumes)
            resume_at(folder, replace(start, elapsed_seconds=time.monotonic() - began))
            latest = start.step
            folder.clear_processes()
        except EmbedstepError as error:
            return replace(write_failure(folder, failure_from_error(error)), restarts=restarts)


def _announce_restart(result: StepResult, restarts: int, most: int) -> None:
    assert result.failure is not None
    first, *_ = result.failure.message.splitlines()
    say(f"{first}; restarting all processes ({restarts} of {most})")


def _read_outcome(folder: OutputFolder, end: ProcessEnd) -> StepResult:
    """Return the result of the processes. Exit code 0 counts only with a result file and a verified model."""
    if end.code == OK and folder.worker_result.exists() and (folder.verified_model / "modules.json").exists():
        # NumPy is slow to import, and was needed for the rows anyway.
        from embedstep.data.recorded_anchors import read_anchors

        anchors = read_anchors(folder.verified_model)
        result = result_from_json(read_json(folder.worker_result))
        return replace(result, recorded_anchors=None if anchors is None else len(anchors))
    return write_failure(folder, first_failure(folder, end))


def write_failure(folder: OutputFolder, failure: Failure) -> StepResult:
    """Save why the step has failed, and return that as its result."""
    write_json(folder.error, asdict(failure))
    return StepResult(exit_code=failure.exit_code, output=str(folder.path), failure=failure)
