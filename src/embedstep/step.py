"""The walk of a request, the same for `embedstep run`, a container, a pipeline step and a DAG task.

    request -> data -> plan -> processes -> result

`plan_step` ends before the first process, `run_step` with the result. Each stage takes the output of the previous one.
"""

import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from embedstep.data.fetching import with_local_data
from embedstep.data.hub import local_sources, named_datasets
from embedstep.data.kept import keep_prepared, restore_tokens
from embedstep.data.model_facts import ModelFacts
from embedstep.data.scanning import scan_all
from embedstep.errors import (
    INTERRUPTED,
    OK,
    CannotStartError,
    EmbedstepError,
    InvalidRequestError,
    Problem,
    StepInterruptedError,
)
from embedstep.launch.attempt import build_node_command, run_attempt, this_machine, write_failure
from embedstep.launch.failures import failure_from_error
from embedstep.launch.first_node import FirstNode, first_node, read_former_end
from embedstep.launch.followers import run_following_node
from embedstep.launch.nodes import NodeInfo, find_node, is_pod
from embedstep.launch.resume import ResumePoint, begin_attempt, can_resume, find_resume_point
from embedstep.launch.torchrun import node_devices, processes_per_node
from embedstep.output.attempts import Attempts
from embedstep.output.folder import OutputFolder, lock_output, lock_run_key
from embedstep.output.result import StepResult, read_json, result_from_json, write_json
from embedstep.output.weights import base_digest
from embedstep.planning.batch_notes import require_preview, with_preview
from embedstep.planning.batches import forms_batches
from embedstep.planning.build import build_plan
from embedstep.planning.checks import check_plan, check_request, check_with_data
from embedstep.planning.cron import superseded_by
from embedstep.planning.further_problems import data_problems
from embedstep.planning.model_checks import check_model, read_facts
from embedstep.planning.model_notes import explain_place
from embedstep.planning.node_reading import write_shares
from embedstep.planning.plan import Plan, plan_from_json
from embedstep.planning.preflight import check_environment, check_machine
from embedstep.planning.row_needs import row_needs
from embedstep.promotion.unchanged import find_unchanged_champion
from embedstep.report.background import write_report_in_subprocess
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.schema import TrainRequest
from embedstep.request.stored import request_to_json
from embedstep.runtime.cache import find_cache
from embedstep.runtime.log import say, say_while
from embedstep.runtime.process import ReceivedSignal, on_signal
from embedstep.runtime.text import shown_path
from embedstep.tracking.environment import tracking_environ
from embedstep.tracking.recording import describe_tracking, start_recording

_SEEN_BY_PODS = re.compile(r"model\.(path|static)|arguments\.resume_from_checkpoint|loss.*\.guide")
"""Paths of problems that may come from files which only the pods see, on their volumes."""


def plan_step(request: TrainRequest, *, preview: int = 0) -> Plan:
    """Check a request against its data and return what a run of it will do. Needs no torch.

    Args:
        request: the request.
        preview: steps of the first epoch whose batches are shown with their texts.

    Raises:
        InvalidRequestError: with every problem of the request and of its data.
        CannotStartError: the request names data on the hub, which does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="embedstep-") as folder:
        if preview:
            require_preview(request)
        plan = _plan(request, Path(folder))
        plan = with_preview(request, plan, preview) if preview else plan
        notes = (*explain_place(request.model, os.environ), *plan.notes)
        return replace(plan, notes=notes, datasets=tuple(replace(one, path=None, corpus=None) for one in plan.datasets))


def run_step(
    request: TrainRequest, output: Path, *, overwrite: bool = False, environ: Mapping[str, str] | None = None
) -> StepResult:
    """Run a request and return how it ended; what the result lists is in the output folder.

    With `launch.kind: trainjob` a cluster does the work and this call follows it. Otherwise this process is one node:
    the first one plans, trains, records and writes the result; the others only start their processes.

    Args:
        request: the request.
        output: the output folder. Several nodes share it, or each has its own with `save_on_each_node`.
        overwrite: replace a finished step in the folder; if the run fails, its model stays.
        environ: the environment, with the place of this node among several; None for that of the process.

    Raises:
        InvalidRequestError: the output folder cannot be used, or the request is invalid and the folder has a finished
            step, which stays as it is. Otherwise an invalid request is a result with exit code 2.
        CannotStartError: the folder is not writable, or the environment of this node does not fit the request.
    """
    environ = os.environ if environ is None else environ
    # Known from the beginning, so that no finished step can prevent the result from being written after the training.
    overwrite = overwrite or request.arguments.overwrite_output_dir
    if request.launch.kind == "trainjob" and not is_pod(environ):
        return _run_on_cluster(request, overwrite=overwrite)
    node = find_node(request, environ)
    if not node.is_first:
        return run_following_node(request, output, node, overwrite=overwrite)
    return read_former_end(output, node) or _run_first_node(request, output, node, overwrite=overwrite)


@dataclass(frozen=True, kw_only=True, slots=True)
class _PlannedRun:
    """A run that is ready to train.

    Attributes:
        plan: its plan.
        start: where it begins.
        unknown: why it could not be compared with the registry's champion, if it could not.
    """

    plan: Plan
    start: ResumePoint
    unknown: str | None


def _run_first_node(request: TrainRequest, output: Path, node: NodeInfo, *, overwrite: bool) -> StepResult:
    started, received = time.monotonic(), ReceivedSignal()
    may_restart = request.launch.max_restarts > 0
    with (
        lock_run_key(request.tracking.key),
        lock_output(output.absolute(), overwrite=overwrite) as folder,
        on_signal(received.record),
        first_node(build_node_command(node, request, folder), folder.path, node, may_restart=may_restart) as first,
    ):
        say(f"output in {shown_path(folder.path)}; {describe_tracking(request)}")
        result = _run(request, folder, node, first, received)
        seconds = {**result.seconds, "total": round(time.monotonic() - started, 3)}
        result = replace(result, request_fingerprint=request_fingerprint(request), seconds=seconds)
        if result.skip_reason is None or result.model is not None or not folder.model.exists():
            # The result of another request's model stays with that model.
            write_json(folder.result, result.to_json())
        if result.model is not None and folder.verified_model.exists():
            # The model gets its final name last: a step that is killed before counts as unfinished.
            folder.publish_model()
        if result.skip_reason is None and received.number is None and folder.plan.exists():
            keep_prepared(find_cache(os.environ), folder.data, plan_from_json(read_json(folder.plan)).datasets)
        first.result = result
        return result


def _run_on_cluster(request: TrainRequest, *, overwrite: bool) -> StepResult:
    """Run the request in a cluster. The client is imported only here, because that takes half a second."""
    if find_spec("kubernetes") is None:
        raise CannotStartError(
            "launch.kind is trainjob, and kubernetes is not installed; pip install 'embedstep[trainjob]'"
        )
    # Report every problem that does not depend on files on the pods' volumes before the pods wait for GPUs.
    if problems := [problem for problem in check_request(request) if not _SEEN_BY_PODS.fullmatch(problem.path)]:
        raise InvalidRequestError(problems)
    if message := _superseded(request):
        assert request.launch.trainjob is not None
        ended = StepResult(
            exit_code=OK, output=request.launch.trainjob.output, skip_reason="superseded", stop_reason=message
        )
        return replace(ended, request_fingerprint=request_fingerprint(request))
    result: StepResult = import_module("embedstep.launch.kubernetes.trainjob").run_trainjob(
        request, overwrite=overwrite
    )
    return result


def _run(
    request: TrainRequest, folder: OutputFolder, node: NodeInfo, first: FirstNode, received: ReceivedSignal
) -> StepResult:
    """Plan and train; a failure before the training is saved unless the folder has a finished step."""
    started = time.monotonic()
    resumes = can_resume(request, folder)
    try:
        with on_signal(partial(_interrupt, received)), say_while("reading model and data"):
            planned = _plan_run(request, folder, node, first, received, resumes=resumes)
    except Exception as raised:
        # A library that was reading something may have raised another error because of the interruption.
        error = raised if received.number is None else StepInterruptedError(received.number)
        if not isinstance(error, EmbedstepError):
            raise
        if folder.model.exists():
            raise error from None  # the finished step that this one was to replace is left as it is
        folder.clear(with_checkpoints=not resumes)
        return write_failure(folder, failure_from_error(error))
    if isinstance(planned, StepResult):
        return planned
    return _train(request, planned, folder, first, received, started)


def _plan_run(
    request: TrainRequest,
    folder: OutputFolder,
    node: NodeInfo,
    first: FirstNode,
    received: ReceivedSignal,
    *,
    resumes: bool,
) -> _PlannedRun | StepResult:
    """Return what is to be trained, or the result where nothing is."""
    # An interrupted run is completed in any case. For pods the process that submits them has compared the times.
    if not node.pod and not resumes and (message := _superseded(request)):
        return _skip_training(request, folder, skip_reason="superseded", stop_reason=message)
    plan = _plan(request, folder.data, first)
    champion, unknown = find_unchanged_champion(request, plan)
    if champion is not None:
        return _skip_training(request, folder, skip_reason="unchanged", champion=champion)
    start = find_resume_point(request, plan, folder, resumes=resumes)
    check_machine(request, plan, folder, resumes=start.is_here)
    if received.number is not None:
        # A library has caught the interruption, and may lack what it was about to load.
        raise StepInterruptedError(received.number)
    return _PlannedRun(plan=plan, start=start, unknown=unknown)


def _train(
    request: TrainRequest,
    planned: _PlannedRun,
    folder: OutputFolder,
    first: FirstNode,
    received: ReceivedSignal,
    started: float,
) -> StepResult:
    """Train a planned run and record it; `started` is when the step began, on the monotonic clock."""
    plan, start = planned.plan, planned.start
    attempts = Attempts(folder.attempts, folder.progress)
    attempts.begin(processes=plan.world_size, on_cpu=plan.on_cpu, resumes=start.is_here)
    begin_attempt(folder, start)
    # Only now: an invalid request is never saved, because a secret in it may be the reason.
    write_json(folder.request, request_to_json(request, folder.path))
    write_json(folder.plan, plan.to_json())
    try:
        if request.launch.nodes == 1:  # several read theirs when all have joined
            with on_signal(partial(_interrupt, received)):
                write_shares(request, plan, 0)
        recording = start_recording(request, plan, folder, resumes=start.is_here, received=received)
    except EmbedstepError as error:
        result = write_failure(folder, failure_from_error(error))
        return replace(result, cost=attempts.end(seconds=time.monotonic() - started, exit_code=result.exit_code))
    restore_tokens(find_cache(os.environ), folder.data, plan.datasets)
    result = run_attempt(request, plan, folder, first, received)
    cost = attempts.end(seconds=time.monotonic() - started, exit_code=result.exit_code)
    result = replace(result, cost=cost)
    with say_while("writing the report and sending records"):
        recording.record(result)
        # After an interruption there is no time for a report.
        report = () if result.exit_code == INTERRUPTED else write_report_in_subprocess(folder.path)
        missing = [*([planned.unknown] if planned.unknown else []), *report]
        return recording.close(replace(result, incomplete_tracking=(*result.incomplete_tracking, *missing)))


def _skip_training(request: TrainRequest, folder: OutputFolder, **reasons: str) -> StepResult:
    """Return that nothing was trained, with the finished run of the same request if the folder has one."""
    result = StepResult(exit_code=OK, output=str(folder.path))
    if folder.result.exists() and folder.model.exists():
        former = result_from_json(read_json(folder.result))
        result = former if former.request_fingerprint == request_fingerprint(request) else result
    return replace(result, **reasons)  # type: ignore[arg-type]


def _superseded(request: TrainRequest) -> str:
    """Return why a later run of the schedule makes this one unnecessary; empty if none does."""
    due = superseded_by(request, datetime.now(UTC))
    if due is None:
        return ""
    message = f"the next retraining was due at {due.isoformat(sep=' ', timespec='minutes')}"
    return f"{message}, and this one is for {request.data.as_of}; schedule.catch_up: true trains for both"


def _interrupt(received: ReceivedSignal, number: int) -> None:
    received.record(number)
    raise StepInterruptedError(number)


def _plan(request: TrainRequest, folder: Path, first: FirstNode | None = None) -> Plan:
    """Check the request, read its data once, and plan it.

    Args:
        request: the request.
        folder: folder for the checked rows, where they stay for the ranks.
        first: the node that is going to train; its processes start while the data is read. None for a plan alone.
    """
    for_a_run = first is not None
    if problems := check_request(request):
        raise InvalidRequestError(dict.fromkeys([*problems, *data_problems(request)]))
    if first is not None:
        check_environment(request, tracking_environ())
    try:
        local, fetched_model = with_local_data(request, folder / "hub", with_model=for_a_run)
    except InvalidRequestError as error:
        raise InvalidRequestError(dict.fromkeys([*error.problems, *data_problems(request)])) from error
    if first is not None:
        first.start()
    is_drawn = any(dataset.transform is not None for _, _, dataset in named_datasets(request))
    is_read_twice = for_a_run or is_drawn or forms_batches(request.arguments)
    model_problems = list(check_model(request, fetched_model)) if fetched_model else []
    model = None if model_problems else read_facts(request, fetched_model)
    plan, problems = _scan_and_plan(request, local, model, folder if is_read_twice else None)
    problems = [*model_problems, *problems]
    if plan is None or problems:
        raise InvalidRequestError(problems)
    base = base_digest(*local_sources(request.model, fetched_model)) if for_a_run else None
    return replace(plan, fetched_model=fetched_model, base=base)


def _scan_and_plan(
    request: TrainRequest,
    local: TrainRequest,
    model: ModelFacts | None,
    write_to: Path | None,
) -> tuple[Plan | None, list[Problem]]:
    """Return the plan, if all data could be read, and every problem of the data and of the plan.

    Args:
        request: the request as written.
        local: the same with local files instead of data on the hub.
        model: what the model's files say.
        write_to: folder for the prepared rows; None if nobody reads them again.
    """
    facts, problems = scan_all(local, write_to, row_needs(local), cache=find_cache(os.environ))
    problems += check_with_data(request, facts)
    if len(facts) < len(list(named_datasets(local))):
        return None, problems
    here = this_machine()
    plan = build_plan(
        request,
        facts,
        gpus=node_devices(request.launch, here).gpus,
        processes=request.launch.nodes * processes_per_node(request, here),
        model=model,
        is_prepared=write_to is not None and not problems,  # batches cannot be formed from invalid rows
    )
    return plan, [*problems, *check_plan(request, plan)]
