"""A node other than the first: its processes join the first node, which decides whether they train."""

import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from embedstep.errors import FAILED, INTERRUPTED
from embedstep.launch.attempt import build_node_command, has_own_folders
from embedstep.launch.first_node import read_job_result
from embedstep.launch.instructions import RESTART
from embedstep.launch.nodes import NodeInfo
from embedstep.output.folder import OutputFolder, lock_output
from embedstep.output.result import StepResult
from embedstep.request.schema import TrainRequest
from embedstep.runtime.process import ProcessEnd, interrupt, on_signal, run_process


def run_following_node(request: TrainRequest, output: Path, node: NodeInfo, *, overwrite: bool) -> StepResult:
    """Run the processes of a node other than the first, and return how they ended; the first node has the result.

    Args:
        request: the request.
        output: the output folder: that of the first node, or one of its own with `save_on_each_node`.
        node: this node among all.
        overwrite: replace a finished step in an output folder of its own.

    Raises:
        InvalidRequestError, CannotStartError: the output folder cannot be used.
        StepInterruptedError: a signal came before the processes ran.
    """
    opened: AbstractContextManager[OutputFolder]
    if has_own_folders(request):
        opened = lock_output(output.absolute(), overwrite=overwrite)
    else:
        opened = nullcontext(OutputFolder(output))
        ended = read_job_result(output, node.job)
        if ended is not None and ended.exit_code != INTERRUPTED:  # a pod that is started again may come too late
            return StepResult(exit_code=ended.exit_code, output=str(output), node_rank=node.rank)
    with on_signal(interrupt), opened as folder:
        command = build_node_command(node, request, folder)
        while (end := run_process(command)).code == RESTART:
            if has_own_folders(request):
                folder.clear_processes()
    return StepResult(exit_code=_exit_code(end), output=str(output), node_rank=node.rank)


def _exit_code(end: ProcessEnd) -> int:
    if end.code < 0:
        # A signal kills torchrun before it has installed its handlers.
        return INTERRUPTED if end.signalled is not None or end.code == -signal.SIGTERM else FAILED
    return end.code
