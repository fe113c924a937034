"""One machine of many that train together; its place among the others is in its environment.

A pod of a TrainJob finds its request there too (`embedstep node`); any other machine is given it (`embedstep run`).
"""

import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from embedstep.errors import FAILED, INTERRUPTED, OK, CannotStartError
from embedstep.launch.attempt import has_own_folders, launch_on, may_come_further, this_machine
from embedstep.launch.failures import first_failure
from embedstep.launch.kubernetes.manifest import REQUEST_VARIABLE
from embedstep.launch.node_status import ended_before, wait_for_start
from embedstep.launch.nodes import ALONE, NodeGroup, group_from_env, processes_problem
from embedstep.launch.termination import last_words
from embedstep.launch.torchrun import Devices, LaunchPlan, devices_of, processes_per_node, visible_gpus
from embedstep.output.folder import OutputFolder, claimed
from embedstep.output.result import StepResult
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from embedstep.runtime.process import ProcessEnd, interrupt, on_signal, run_process
from embedstep.step import run_step


def run_node(environ: Mapping[str, str], *, overwrite: bool) -> StepResult | int:
    """Do this node's part, and leave a word of its end where Kubernetes shows it.

    Args:
        environ: the environment of the pod.
        overwrite: replace a finished step that lies in the output folder.

    Returns:
        The result on the first node, and the exit code on the others.

    Raises:
        EmbedstepError: as `run_step`; or there is no request, or the node's place or its processes do not fit it.
    """
    with last_words(environ) as leave:
        ended = _part_of_node(environ, overwrite=overwrite)
        leave(ended)
        return ended


def _part_of_node(environ: Mapping[str, str], *, overwrite: bool) -> StepResult | int:
    """Do a pod's part of the request that it finds in its environment."""
    request = load_request(environ.get(REQUEST_VARIABLE, ""))
    job = request.launch.trainjob
    if job is None:
        raise CannotStartError("the request is of launch.kind: local; embedstep run does its work")
    processes = processes_per_node(request.launch, _devices(request), use_cpu=request.arguments.use_cpu)
    gpus = 0 if request.arguments.use_cpu else visible_gpus(environ)
    if problem := processes_problem(environ, processes=processes, gpus=gpus):
        raise CannotStartError(problem)
    return run_part(request, Path(job.output), environ, overwrite=overwrite)


def run_part(request: TrainRequest, output: Path, environ: Mapping[str, str], *, overwrite: bool) -> StepResult | int:
    """Do the part of one node of those that train together: the first plans, records and writes the result.

    Args:
        request: the request.
        output: the output folder, which all nodes see.
        environ: the environment, which says the node's place.
        overwrite: replace a finished step that lies in the output folder.

    Returns:
        The result on the first node, and the exit code on the others, which only start their processes.

    Raises:
        EmbedstepError: as `run_step`; or the node's place is not known, or is none in the request's group.
    """
    try:
        group = group_from_env(environ)
    except ValueError as error:
        raise CannotStartError(f"this node does not know its place: {error}") from None
    if group not in (ALONE, replace(group, nodes=request.launch.nodes)):
        raise CannotStartError(f"launch.nodes is {request.launch.nodes}, and the environment says {group.nodes}")
    # What was told of another request by the same name of a launch is none of ours.
    if request.launch.kind == "local" and group != ALONE:
        group = replace(group, job=f"{group.job}/{request_fingerprint(request)[:12]}")
    if group.is_first:
        return _lead(request, output, group, overwrite=overwrite)
    if has_own_folders(request):
        return _follow_apart(request, output, group, overwrite=overwrite)
    return _follow(request, output, group)


def _devices(request: TrainRequest) -> Devices:
    return devices_of(request.launch, this_machine())


def _lead(request: TrainRequest, output: Path, group: NodeGroup, *, overwrite: bool) -> StepResult:
    """Run the step on the first node, unless it has ended before."""
    if (before := ended_before(output, group)) is not None:
        return before
    return run_step(request, output, overwrite=overwrite, group=group)


def _follow(request: TrainRequest, output: Path, group: NodeGroup) -> int:
    """Start the processes of a node that is not the first; they find the plan and the rows in the shared folder."""
    seconds = 60 * request.launch.meeting_minutes
    with on_signal(interrupt):
        start = wait_for_start(output, group, seconds)
        if isinstance(start, int):
            return start
        launch = _launch(request, OutputFolder(output), group)
        for restarts in range(1, request.launch.max_restarts + 2):
            end = run_process(launch)
            if end.code == OK or end.signalled is not None or restarts > request.launch.max_restarts:
                break
            start = wait_for_start(output, group, seconds, start)
            if isinstance(start, int):
                return start
    return _code_of(end)


def _follow_apart(request: TrainRequest, output: Path, group: NodeGroup, *, overwrite: bool) -> int:
    """Start the processes of a node that sees nothing of the first one's disk: they are handed what they need."""
    with claimed(output.absolute(), overwrite=overwrite) as folder:
        launch = _launch(request, folder, group)
        for restarts in range(1, request.launch.max_restarts + 2):
            end = run_process(launch)
            failed_here = None if end.code == OK else first_failure(folder, end)
            again = may_come_further(failed_here) and end.signalled is None
            if not again or restarts > request.launch.max_restarts:
                break
            folder.forget_processes()
        return _code_of(end)


def _launch(request: TrainRequest, folder: OutputFolder, group: NodeGroup) -> LaunchPlan:
    devices = _devices(request)
    processes = processes_per_node(request.launch, devices, use_cpu=request.arguments.use_cpu)
    on_cpu = request.arguments.use_cpu or devices.gpus == 0
    return launch_on(group, request, folder, processes=processes, on_cpu=on_cpu)


def _code_of(end: ProcessEnd) -> int:
    if end.code < 0:
        # Before torchrun hears signals, one ends it.
        return INTERRUPTED if end.signalled is not None or end.code == -signal.SIGTERM else FAILED
    return end.code
