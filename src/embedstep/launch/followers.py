"""A node other than the first: it starts its processes and returns their exit code."""

import signal
from pathlib import Path

from embedstep.errors import FAILED, INTERRUPTED, OK
from embedstep.launch.attempt import build_node_command, has_own_folders, is_retryable, this_machine
from embedstep.launch.failures import first_failure
from embedstep.launch.node_status import wait_for_start
from embedstep.launch.nodes import NodeInfo
from embedstep.launch.torchrun import node_devices, processes_per_node
from embedstep.output.folder import OutputFolder, lock_output
from embedstep.output.result import StepResult
from embedstep.request.schema import TrainRequest
from embedstep.runtime.process import LaunchCommand, ProcessEnd, interrupt, on_signal, run_process


def run_following_node(request: TrainRequest, output: Path, node: NodeInfo, *, overwrite: bool) -> StepResult:
    """Run the processes of a node other than the first, and return how they ended; the first node has the result.

    Args:
        request: the request.
        output: the output folder: that of the first node, or one of its own with `save_on_each_node`.
        node: this node among all.
        overwrite: replace a finished step in an output folder of its own.

    Raises:
        CannotStartError: there was no sign of the first node, or the output folder is in use.
        StepInterruptedError: a signal came while it waited.
    """
    if has_own_folders(request):
        code = _run_without_shared_disk(request, output, node, overwrite=overwrite)
    else:
        code = _run_with_shared_disk(request, output, node)
    return StepResult(exit_code=code, output=str(output), node_rank=node.rank)


def _run_with_shared_disk(request: TrainRequest, output: Path, node: NodeInfo) -> int:
    """Start the processes once the first node has put the plan and the rows into the shared folder."""
    seconds = 60 * request.launch.join_timeout_minutes
    with on_signal(interrupt):
        start = wait_for_start(output, node, seconds)
        if isinstance(start, int):
            return start
        launch = _build_command(request, OutputFolder(output), node)
        for restarts in range(1, request.launch.max_restarts + 2):
            end = run_process(launch)
            if end.code == OK or end.signalled is not None or restarts > request.launch.max_restarts:
                break
            start = wait_for_start(output, node, seconds, start)
            if isinstance(start, int):
                return start
    return _exit_code(end)


def _run_without_shared_disk(request: TrainRequest, output: Path, node: NodeInfo, *, overwrite: bool) -> int:
    """Start the processes of a node that cannot see the first one's disk; they get the plan and the rows from it."""
    with lock_output(output.absolute(), overwrite=overwrite) as folder:
        launch = _build_command(request, folder, node)
        for restarts in range(1, request.launch.max_restarts + 2):
            end = run_process(launch)
            failed_here = None if end.code == OK else first_failure(folder, end)
            again = is_retryable(failed_here) and end.signalled is None
            if not again or restarts > request.launch.max_restarts:
                break
            folder.clear_processes()
        return _exit_code(end)


def _build_command(request: TrainRequest, folder: OutputFolder, node: NodeInfo) -> LaunchCommand:
    here = this_machine()
    on_cpu = request.arguments.use_cpu or node_devices(request.launch, here).gpus == 0
    return build_node_command(node, request, folder, processes=processes_per_node(request, here), on_cpu=on_cpu)


def _exit_code(end: ProcessEnd) -> int:
    if end.code < 0:
        # A signal kills torchrun before it has installed its handlers.
        return INTERRUPTED if end.signalled is not None or end.code == -signal.SIGTERM else FAILED
    return end.code
