"""The walk of a request: what `embedstep run`, a container, a pipeline step and a DAG task all execute.

    request -> data -> plan -> processes -> result

`plan_step` stops before the first process; `run_step` goes to the end. Each stop takes the output of the one before.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from embedstep.arguments.dumps import to_lossless
from embedstep.batching import forms_batches
from embedstep.checks import check_plan, check_request, check_with_data, similarity_of
from embedstep.cost import Attempts
from embedstep.errors import (
    INTERRUPTED,
    OK,
    CannotStartError,
    EmbedstepError,
    Problem,
    RefusedError,
    StepInterruptedError,
)
from embedstep.failures import failure_of, first_failure
from embedstep.hub import named_datasets, with_local_data, without_hub_data
from embedstep.launch.plan import Devices, LaunchPlan, plan_launch, processes_per_node, visible_gpus
from embedstep.launch.process import ProcessEnd, on_signal, run_process
from embedstep.machine import check_machine
from embedstep.output import OutputFolder, claimed
from embedstep.plan import Plan
from embedstep.planning import build_plan, token_ids_of, with_preview
from embedstep.promotion.unchanged import champion_of_same
from embedstep.report.aside import written_aside
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.rules import LAST_CHECKPOINT
from embedstep.request.schema import TrainRequest
from embedstep.result import Failure, StepResult, read_json, result_from_json, write_json
from embedstep.scanning import scan_all
from embedstep.space import base_digest
from embedstep.tokenizing import TokenMaker, token_maker, tokenizer_of
from embedstep.tracking.recording import start_recording

REQUEST_FORMAT = "embedstep.request/1"


def plan_step(request: TrainRequest, *, preview: int = 0) -> Plan:
    """Check a request against its data and work out what a run of it will do. Needs no torch.

    Args:
        request: the request.
        preview: steps of the first epoch whose batches are shown with their texts.

    Raises:
        RefusedError: with every problem of the request and of its data.
        CannotStartError: the request names data on the hub, which did not answer.
    """
    with tempfile.TemporaryDirectory(prefix="embedstep-") as folder:
        if preview and not forms_batches(request.arguments):
            told = "is batch_sampler, whose batches sentence-transformers draws while it trains; there is no preview"
            raise RefusedError([Problem("arguments.batch_sampler", told)])
        plan = _plan(request, Path(folder), for_a_run=False)
        plan = with_preview(request, plan, preview) if preview else plan
        return replace(plan, datasets=tuple(replace(item, path=None) for item in plan.datasets))


def run_step(request: TrainRequest, output: Path, *, overwrite: bool = False) -> StepResult:
    """Run a request to its end and say how it ended. The output folder then holds what the result says.

    Args:
        request: the request.
        output: the output folder.
        overwrite: replace a finished step that lies there, its model last: a run that fails leaves it.

    Raises:
        RefusedError: the output folder cannot be used, or the request is refused and a finished step lies there.
        CannotStartError: the disk does not let us write.
    """
    started = time.monotonic()
    # Once the training has ended, nothing keeps its result from being written.
    overwrite = overwrite or request.arguments.overwrite_output_dir
    with claimed(output.absolute(), overwrite=overwrite) as folder, on_signal(lambda number: None):
        result = _run(request, folder)
        seconds = {**result.seconds, "total": round(time.monotonic() - started, 3)}
        result = replace(result, request_fingerprint=request_fingerprint(request), seconds=seconds)
        if result.verdict is None or result.model is not None or not folder.model.exists():
            # The result of another request's model stays with that.
            write_json(folder.result, result.to_json())
        return result


def _run(request: TrainRequest, folder: OutputFolder) -> StepResult:
    started = time.monotonic()
    goes_on = _goes_on_from(request.arguments.resume_from_checkpoint, folder)
    try:
        with on_signal(_interrupt):
            plan = _plan(request, folder.data, for_a_run=True)
            check_machine(request, plan, folder.path)
            champion, unknown = champion_of_same(request, plan)
            if champion is not None:
                return _unchanged(request, folder, champion)
    except EmbedstepError as error:
        if folder.model.exists():
            raise  # the finished step that this one was to replace stays as it is
        folder.clear(with_checkpoints=not goes_on)
        return _failed(folder, failure_of(error))
    attempts = Attempts(folder.attempts, folder.progress)
    attempts.begin(processes=plan.world_size, on_cpu=plan.on_cpu)
    folder.clear(with_checkpoints=not goes_on)
    # A refused request is never written down: it may be refused for a secret in it.
    write_json(folder.request, _as_json(request))
    write_json(folder.plan, plan.to_json())
    try:
        recording = start_recording(request, plan, folder, goes_on=goes_on)
    except EmbedstepError as error:
        failed = _failed(folder, failure_of(error))
        return replace(failed, cost=attempts.end(seconds=time.monotonic() - started, exit_code=failed.exit_code))
    result = _trained(plan, folder)
    cost = attempts.end(seconds=time.monotonic() - started, exit_code=result.exit_code)
    result = replace(result, cost=cost)
    recording.record(result)
    # Whoever has interrupted the step wants it to end now.
    report = () if result.exit_code == INTERRUPTED else written_aside(folder.path)
    missing = [*([unknown] if unknown else []), *report]
    return recording.close(replace(result, incomplete_tracking=(*result.incomplete_tracking, *missing)))


def _unchanged(request: TrainRequest, folder: OutputFolder, champion: str) -> StepResult:
    """Say that nothing was trained; a finished run of the same request that lies there stays as it is."""
    result = StepResult(exit_code=OK, output=str(folder.path))
    if folder.result.exists() and folder.model.exists():
        former = result_from_json(read_json(folder.result))
        result = former if former.request_fingerprint == request_fingerprint(request) else result
    return replace(result, verdict="unchanged", champion=champion)


def _trained(plan: Plan, folder: OutputFolder) -> StepResult:
    try:
        end = run_process(launch_of(plan, folder))
    except CannotStartError as error:
        return _failed(folder, failure_of(error))
    return _outcome(folder, end)


def _goes_on_from(checkpoint: str | None, folder: OutputFolder) -> bool:
    """Whether the checkpoint to go on from lies in the folder that is about to be cleared."""
    if checkpoint is None or checkpoint in LAST_CHECKPOINT:
        return checkpoint is not None
    return Path(checkpoint).expanduser().resolve().is_relative_to(folder.checkpoints.resolve())


def _interrupt(number: int) -> None:
    raise StepInterruptedError(number)


def _as_json(request: TrainRequest) -> dict[str, Any]:
    return {
        "format": REQUEST_FORMAT,
        "fingerprint": request_fingerprint(request),
        # Arguments as they were written: a default that is written down would count as chosen.
        "request": {**request.model_dump(mode="json"), "arguments": to_lossless(request.arguments)},
    }


def _plan(request: TrainRequest, folder: Path, *, for_a_run: bool) -> Plan:
    """Read the data once: to look at it, or to leave the checked rows in `folder` for the ranks of a run."""
    if problems := check_request(request):
        raise RefusedError([*problems, *_data_problems(request)])
    local, fetched_model = with_local_data(request, folder / "hub", with_model=for_a_run)
    is_read_twice = for_a_run or forms_batches(request.arguments)
    tokens = _tokens(request, fetched_model)
    plan, problems = _planned(request, local, tokens, folder if is_read_twice else None)
    if plan is None or problems:
        raise RefusedError(problems)
    if for_a_run and isinstance(tokens, TokenMaker):
        _tokenize(plan, tokens)
    base = base_digest(_source(request, fetched_model)) if for_a_run else None
    return replace(plan, fetched_model=fetched_model, base=base)


def _source(request: TrainRequest, fetched_model: str | None) -> Path:
    return Path(fetched_model or str(request.model.path or request.model.static)).expanduser()


def _planned(
    request: TrainRequest, local: TrainRequest, tokens: TokenMaker | str, write_to: Path | None
) -> tuple[Plan | None, list[Problem]]:
    """Return the plan, if all data could be read, and every problem of the data and of the plan."""
    facts, problems = scan_all(local, write_to)
    problems += check_with_data(request, facts)
    if len(facts) < len(list(named_datasets(local))):
        return None, problems
    devices = this_machine()
    processes = processes_per_node(request.launch, devices, use_cpu=request.arguments.use_cpu)
    similarity = similarity_of(request)
    if problems:
        # Batches cannot be formed of rows that are refused.
        write_to = None
    plan = build_plan(
        request,
        facts,
        gpus=devices.gpus,
        processes=processes,
        similarity=similarity,
        is_prepared=write_to is not None,
        tokens=tokens,
    )
    return plan, [*problems, *check_plan(request, plan)]


def _tokens(request: TrainRequest, fetched_model: str | None) -> TokenMaker | str:
    found = tokenizer_of(request.model, _source(request, fetched_model))
    return found if isinstance(found, str) else token_maker(request, found.read)


def _tokenize(plan: Plan, tokens: TokenMaker) -> None:
    """Leave the token ids of all texts that a loss reads at least once beside their rows."""
    for item in plan.datasets:
        if plan.passes(item) >= 1:
            token_ids_of(item, tokens)


def further_problems(refused: RefusedError) -> list[Problem]:
    """Return what a request that could not be read whole would be refused for besides: one round of mistakes, not two.

    Args:
        refused: what reading the request has raised.
    """
    if refused.remainder is None:
        return []
    # A faulty place has its default in the remainder, and what is said of that is no help.
    known = {problem.path for problem in refused.problems}
    found = [*check_request(refused.remainder), *_data_problems(refused.remainder)]
    return [problem for problem in dict.fromkeys(found) if problem.path not in known]


def _data_problems(request: TrainRequest) -> Iterator[Problem]:
    """What the data on this machine would be refused for; data on the hub is not fetched for that."""
    on_disk = without_hub_data(request)
    facts, problems = scan_all(on_disk, None)
    yield from problems
    yield from check_with_data(on_disk, facts)


def this_machine() -> Devices:
    """Return what this machine has to compute on."""
    return Devices(gpus=visible_gpus(os.environ), cores=len(os.sched_getaffinity(0)))


def launch_of(plan: Plan, folder: OutputFolder) -> LaunchPlan:
    """Return the command and the environment that train this plan on this machine."""
    launch = plan_launch(
        ("embedstep.worker", str(folder.path)),
        report_to=str(folder.path),
        processes=plan.world_size,
        on_cpu=plan.on_cpu,
        devices=this_machine(),
        python=sys.executable,
        environ=os.environ,
    )
    # The processes hold the folder's lock too: if this one is killed, they may go on writing for a while.
    return replace(launch, keep_open=() if folder.lock is None else (folder.lock,))


def _outcome(folder: OutputFolder, end: ProcessEnd) -> StepResult:
    """Turn the launcher's end into a result. A code of 0 counts only with a result and a model to show for it."""
    if end.code == OK and folder.worker_result.exists() and (folder.verified_model / "modules.json").exists():
        folder.publish_model()
        return result_from_json(read_json(folder.worker_result))
    return _failed(folder, first_failure(folder, end))


def _failed(folder: OutputFolder, failure: Failure) -> StepResult:
    write_json(folder.error, asdict(failure))
    return StepResult(exit_code=failure.exit_code, output=str(folder.path), failure=failure)
