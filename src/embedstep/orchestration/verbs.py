"""What each component does with what it was given: its verb, and where the outputs go."""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from embedstep.errors import OK
from embedstep.orchestration.components import EVALUATE, MINE_NEGATIVES, PREPARE, PROMOTE, TRAIN
from embedstep.orchestration.mine_negatives import MINED_FORMAT, MinedDataset, mine_negatives
from embedstep.orchestration.prepare import Prepared, prepare
from embedstep.orchestration.staging import with_shared_inputs
from embedstep.orchestration.task import Outcome, Task, place, place_json, request_of, shown_metrics, write_outcome
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult
from embedstep.promotion.decision import Decision
from embedstep.promotion.gate import promote as decide
from embedstep.promotion.scoring import ScoredModels, score_models
from embedstep.runtime.secrets import redact
from embedstep.step import run_step

OUTCOME_FORMAT = "embedstep.outcome/1"
_MODEL, _BASELINE = "model", "baseline"


def prepare_data(task: Task) -> Prepared:
    """Lay down the rows of a task's request.

    Raises:
        InvalidRequestError: with every problem of the request and its data.
        CannotStartError: the request or the data cannot be reached.
    """
    request = request_of(task, PREPARE)
    given = {name: task.parameters[name] for name in ("eval_share", "seed") if name in task.parameters}
    if "seed" in given:
        given["seed"] = int(given["seed"])
    prepared = prepare(request, task.path_of("train_rows"), task.path_of("eval_rows"), **given)
    task.path_of("eval_rows").mkdir(parents=True, exist_ok=True)
    place_json(prepared.to_json(), task.path_of("prepared"))
    rows = sum(item.rows for item in prepared.datasets if item.split == "train")
    write_outcome(task, Outcome(parameters={"fingerprint": prepared.fingerprint, "rows": rows}))
    return prepared


def mine_negatives_of(task: Task) -> tuple[MinedDataset, ...]:
    """Find hard negatives for the rows of a task's request.

    Raises:
        InvalidRequestError: with every problem of the request and its data.
        CannotStartError: the request, the data or the model cannot be reached.
        TrainingFailedError: the miner has failed.
    """
    request = request_of(task, MINE_NEGATIVES)
    names = [one.name for one in MINE_NEGATIVES.parameters if not one.sets]
    options = {name: task.parameters[name] for name in names if name in task.parameters}
    options |= {name: int(options[name]) for name in ("range_min", "range_max") if name in options}
    mined = mine_negatives(request, task.path_of("train_rows"), options)
    place_json({"format": MINED_FORMAT, "datasets": [asdict(item) for item in mined]}, task.path_of("mined"))
    write_outcome(task, Outcome(parameters={"rows": sum(item.mined_rows for item in mined)}))
    return mined


def train(task: Task) -> StepResult:
    """Run the request of a task, and leave its outputs unless it has failed.

    The output folder is beside the model's artifact, and gone with the container; `output_dir` on a volume keeps it.

    Raises:
        InvalidRequestError: with every problem that was found.
        CannotStartError: the disk does not let us write, or the request lies somewhere that cannot be reached.
    """
    request = request_of(task, TRAIN)
    if request.launch.trainjob is not None:
        request = request_of(with_shared_inputs(task, request.launch.trainjob), TRAIN)
    output = Path(request.arguments.output_dir or task.path_of("model").with_name("step"))
    result = run_step(request, output)
    if result.exit_code == OK:
        _leave(task, result)
    return result


def _leave(task: Task, result: StepResult) -> None:
    folder = OutputFolder(Path(result.output))
    files = {"model": result.model, "report": folder.report, "result": folder.result}
    for name, file in files.items():
        if file is not None and Path(file).exists():
            place(Path(file), task.path_of(name))
    place_json(dict(result.metrics), task.path_of("metrics"))
    about = {
        "embedding_space_id": result.embedding_space_id,
        "dimension": result.dimension,
        "weights_sha256": result.weights_sha256,
    }
    about = {name: value for name, value in about.items() if value is not None}
    parameters = {"run_id": result.run_id or "", "status": result.skip_reason or "trained"}
    write_outcome(
        task, Outcome(parameters=parameters, metadata={"metrics": shown_metrics(result.metrics), "model": about})
    )


def evaluate(task: Task) -> ScoredModels:
    """Score the model of a task, beside the baseline if that was given.

    Raises:
        InvalidRequestError: with every problem that was found.
        CannotStartError: the request or the data lies somewhere that cannot be reached.
        TrainingFailedError: a model could not be scored.
    """
    request = request_of(task, EVALUATE)
    models = {name: str(task.inputs[name]) for name in (_BASELINE, _MODEL) if name in task.inputs}
    scored = score_models(request, models)
    ours = scored.models[_MODEL].metrics
    place_json(scored.to_json(), task.path_of("scores"))
    place_json(dict(ours), task.path_of("metrics"))
    write_outcome(task, Outcome(parameters={}, metadata={"metrics": shown_metrics(ours)}))
    return scored


def promote(task: Task) -> Decision:
    """Decide about the model of a task, and return what was decided.

    Raises:
        InvalidRequestError: with every problem that was found, or the gate cannot decide.
        CannotStartError: the registry does not answer, or the data lies somewhere that cannot be reached.
        TrainingFailedError: a model could not be scored.
    """
    request = request_of(task, PROMOTE)
    champion = task.inputs.get("champion")
    with tempfile.TemporaryDirectory(prefix="embedstep-") as name:
        folder = OutputFolder(Path(name))
        place(task.inputs["result"], folder.result)
        if task.inputs["model"].is_dir():
            folder.model.symlink_to(task.inputs["model"].absolute())
        decision = decide(request, folder.path, champion=None if champion is None else str(champion))
    # Not the folder that was made for the gate.
    decision = replace(decision, challenger={**decision.challenger, "model": str(task.inputs["model"])})
    place_json(decision.to_json(), task.path_of("decision"))
    write_outcome(task, Outcome(parameters={"verdict": decision.word}))
    return decision


def outcome(task: Task) -> dict[str, Any]:
    """Write down how a pipeline ended, and return that. What the request is does not matter for it.

    Raises:
        CannotStartError: the disk does not let us write.
    """
    status = task.parameters.get("status") or {}
    status = json.loads(status) if isinstance(status, str) else status
    error = status.get("error") or {}
    request = str(task.parameters.get("request") or "")
    told = {
        "format": OUTCOME_FORMAT,
        "state": status.get("state", "UNKNOWN"),
        "pipeline_job": status.get("pipelineJobResourceName", ""),
        "error": redact(str(error.get("message", "")), os.environ),
        "request_sha256": hashlib.sha256(request.encode()).hexdigest(),
        "as_of": task.parameters.get("as_of", ""),
    }
    place_json(told, task.path_of("outcome"))
    write_outcome(task, Outcome(parameters={"state": told["state"]}))
    return told
