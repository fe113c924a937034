"""What the container of each component does: from a `Task` to its outputs. `components` names these functions."""

import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from embedstep.errors import OK
from embedstep.orchestration.components import EVALUATE, MINE_NEGATIVES, PREPARE, PROMOTE, TRAIN, Component
from embedstep.orchestration.mine_negatives import MINED_FORMAT, MinedDataset
from embedstep.orchestration.mine_negatives import mine_negatives as mine
from embedstep.orchestration.prepare import Prepared, prepare_data
from embedstep.orchestration.staging import stage_inputs
from embedstep.orchestration.task import Task, copy_output, resolve_request, shown_metrics, write_outputs
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult, write_json
from embedstep.promotion.decision import Decision
from embedstep.promotion.gate import promote as decide
from embedstep.promotion.scoring import ScoredModels, score_models
from embedstep.runtime.digests import sha256_text
from embedstep.runtime.secrets import redact
from embedstep.step import run_step

OUTCOME_FORMAT = "embedstep.outcome/1"
_MODEL, _BASELINE = "model", "baseline"
_MODEL_FACTS = ("embedding_space_id", "dimension", "weights_sha256")


def prepare(task: Task) -> Prepared:
    """Write the prepared rows of a task's request.

    Raises:
        InvalidRequestError: with every problem of the request and its data.
        CannotStartError: the request or the data cannot be reached.
    """
    request = resolve_request(task, PREPARE)
    held_out = task.output_path("eval_rows")
    prepared = prepare_data(request, task.output_path("train_rows"), held_out, **_options(task, PREPARE))
    # Also if no rows are held out, because later tasks take the folder as an input.
    held_out.mkdir(exist_ok=True)
    write_json(task.output_path("prepared"), prepared.to_json())
    rows = sum(item.rows for item in prepared.datasets if item.split == "train")
    write_outputs(task, {"fingerprint": prepared.fingerprint, "rows": rows})
    return prepared


def _options(task: Task, component: Component) -> dict[str, Any]:
    """Return the parameters of a task that set nothing in its request, integers as such."""
    kinds = {one.name: one.kind for one in component.parameters}
    # Kubeflow knows one kind of number.
    return {name: int(value) if kinds[name] == "integer" else value for name, value in _given(task, component).items()}


def _given(task: Task, component: Component) -> dict[str, Any]:
    """Return the parameters of a task that set nothing in its request, as they are given."""
    names = {one.name for one in component.parameters if not one.sets}
    # A pipeline's parameter needs a default, so an empty text means not given.
    return {name: value for name, value in task.parameters.items() if name in names and value != ""}


def mine_negatives(task: Task) -> tuple[MinedDataset, ...]:
    """Mine hard negatives for the rows of a task's request.

    Raises:
        InvalidRequestError: with every problem of the request and its data.
        CannotStartError: the request, the data or the model cannot be reached.
        TrainingFailedError: the miner failed.
    """
    request = resolve_request(task, MINE_NEGATIVES)
    mined = mine(request, task.output_path("train_rows"), _given(task, MINE_NEGATIVES))
    write_json(task.output_path("mined"), {"format": MINED_FORMAT, "datasets": [asdict(item) for item in mined]})
    write_outputs(task, {"rows": sum(item.mined_rows for item in mined)})
    return mined


def train(task: Task) -> StepResult:
    """Run the request of a task and, unless it fails, write the outputs.

    Without `output_dir` the output folder is next to the model artifact and disappears with the container.

    Raises:
        InvalidRequestError: with every problem of the request and its data.
        CannotStartError: the disk cannot be written, or the request cannot be reached.
    """
    request = resolve_request(task, TRAIN)
    if request.launch.trainjob is not None:
        # The pods see their volumes, and no artifact of this task.
        request = resolve_request(stage_inputs(task, request.launch.trainjob), TRAIN)
    output = Path(request.arguments.output_dir or task.output_path("model").with_name("step"))
    result = run_step(request, output)
    if result.exit_code == OK:
        _write_training(task, result)
    return result


def _write_training(task: Task, result: StepResult) -> None:
    folder = OutputFolder(Path(result.output))
    files = {"model": result.model, "report": folder.report, "result": folder.result}
    for name, file in files.items():
        if file is not None and Path(file).exists():
            copy_output(Path(file), task.output_path(name))
    write_json(task.output_path("metrics"), dict(result.metrics))
    facts = {name: getattr(result, name) for name in _MODEL_FACTS}
    about = {name: value for name, value in facts.items() if value is not None}
    parameters = {"run_id": result.run_id or "", "status": result.skip_reason or "trained"}
    write_outputs(task, parameters, {"metrics": shown_metrics(result.metrics), "model": about})


def evaluate(task: Task) -> ScoredModels:
    """Score the model of a task, and the baseline if there is one.

    Raises:
        InvalidRequestError: with every problem of the request and its data.
        CannotStartError: the request or the data cannot be reached.
        TrainingFailedError: a model could not be scored.
    """
    request = resolve_request(task, EVALUATE)
    models = {name: str(task.inputs[name]) for name in (_BASELINE, _MODEL) if name in task.inputs}
    scored = score_models(request, models)
    metrics = scored.models[_MODEL].metrics
    write_json(task.output_path("scores"), scored.to_json())
    write_json(task.output_path("metrics"), dict(metrics))
    write_outputs(task, {}, {"metrics": shown_metrics(metrics)})
    return scored


def promote(task: Task) -> Decision:
    """Compare the model of a task with the champion, and promote it if it is better.

    Raises:
        InvalidRequestError: with every problem of the request and its data, or the gate cannot decide.
        CannotStartError: the registry does not answer, or the data cannot be reached.
        TrainingFailedError: a model could not be scored.
    """
    request = resolve_request(task, PROMOTE)
    champion = task.inputs.get("champion")
    with tempfile.TemporaryDirectory(prefix="embedstep-") as name:
        folder = OutputFolder(Path(name))
        # The gate reads the output folder of a run, which the artifacts stand for.
        copy_output(task.inputs["result"], folder.result)
        if task.inputs["model"].is_dir():
            folder.model.symlink_to(task.inputs["model"].absolute())
        decision = decide(request, folder.path, champion=None if champion is None else str(champion))
    # The model's own folder, not the temporary one.
    decision = replace(decision, challenger={**decision.challenger, "model": str(task.inputs["model"])})
    write_json(task.output_path("decision"), decision.to_json())
    write_outputs(task, {"verdict": decision.action})
    return decision


def outcome(task: Task) -> dict[str, Any]:
    """Record how a pipeline ended. The request is only hashed, so an invalid one works as well.

    Raises:
        CannotStartError: the disk cannot be written.
    """
    status = task.parameters.get("status") or {}
    status = json.loads(status) if isinstance(status, str) else status
    error = status.get("error") or {}
    request = str(task.parameters.get("request") or "")
    recorded = {
        "format": OUTCOME_FORMAT,
        "state": status.get("state", "UNKNOWN"),
        "pipeline_job": status.get("pipelineJobResourceName", ""),
        "error": redact(str(error.get("message", "")), os.environ),
        "request_sha256": sha256_text(request),
        "as_of": task.parameters.get("as_of", ""),
    }
    write_json(task.output_path("outcome"), recorded)
    write_outputs(task, {"state": recorded["state"]})
    return recorded
