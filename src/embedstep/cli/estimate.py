"""What a run will cost, before it costs anything: by what runs like it have cost, or by a few steps of its own."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from os import environ
from pathlib import Path
from statistics import median
from typing import Any

from embedstep.errors import InvalidRequestError, Problem
from embedstep.output.attempts import HOUR, FormerRun, unit_of
from embedstep.output.result import StepResult
from embedstep.planning.plan import Plan
from embedstep.replay import run_or_raise, without_tracking
from embedstep.request.schema import TrainRequest
from embedstep.tracking.sender import tracking_uri

_PROBED_STEPS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What a run will probably take.

    Attributes:
        hours: hours of all its processes together.
        unit: `GPU-hours` or `process-hours`.
        by: what that is told by.
    """

    hours: float
    unit: str
    by: str


def estimate_by_former_runs(request: TrainRequest, plan: Plan) -> Estimate:
    """Estimate by the runs in MLflow that had the same model, processes and devices; the same rows, if there are any.

    Raises:
        InvalidRequestError: nothing is tracked, or there is no such run.
        CannotStartError: the tracking server does not answer.
    """
    if request.tracking.kind == "none":
        raise InvalidRequestError(
            [Problem("tracking.kind", "is none, so that no former run is known; use --estimate probe")]
        )
    uri = tracking_uri(request.tracking, environ)
    found: list[FormerRun] = import_module("embedstep.tracking.mlflow_registry").former_runs(uri, request, plan)
    same = [run for run in found if run.is_of_same_rows] or found
    if not same:
        told = f"the experiment {request.tracking.experiment} has no run of this model; use --estimate probe"
        raise InvalidRequestError([Problem("tracking.experiment", told)])
    rows = "the same rows" if same[0].is_of_same_rows else "other rows"
    by = f"{len(same)} former run{'s' if len(same) > 1 else ''} of the same model and {rows}"
    return _within_limit(request, plan, scaled(same, plan.train_steps), by)


def _within_limit(request: TrainRequest, plan: Plan, hours: float, by: str) -> Estimate:
    """Return the estimate, which launch.max_hours may cut."""
    limit = (request.launch.max_hours or float("inf")) * plan.world_size
    if hours > limit:
        by = f"{by}, cut by launch.max_hours"
    return Estimate(hours=round(min(hours, limit), 6), unit=unit_of(on_cpu=plan.on_cpu), by=by)


def scaled(runs: Sequence[FormerRun], train_steps: int) -> float:
    """Return the median of what the runs would have taken with another number of train steps."""
    return round(median(run.hours / run.train_steps * train_steps for run in runs), 6)


def estimate_by_probe(request: TrainRequest, plan: Plan) -> Estimate:
    """Estimate by a training of a few steps and one evaluation in a folder that is gone afterwards.

    Raises:
        RunFailedError: the training has failed, as the whole one would.
        InvalidRequestError: the request trains nothing.
    """
    if request.launch.trainjob is not None:
        told = "is trainjob, and a probe runs on this machine; --estimate former tells by runs on the cluster"
        raise InvalidRequestError([Problem("launch.kind", told)])
    steps = min(_PROBED_STEPS, plan.train_steps)
    if not steps:
        raise InvalidRequestError([Problem("arguments.do_train", "is false, so that there is nothing to probe")])
    arguments: dict[str, Any] = {
        "max_steps": steps, "save_strategy": "no", "load_best_model_at_end": False,
    }  # fmt: skip
    if plan.evaluations:
        arguments |= {"eval_strategy": "steps", "eval_steps": steps, "eval_on_start": False, "eval_delay": 0}
    with tempfile.TemporaryDirectory(prefix="embedstep-") as folder:
        result = run_or_raise(without_tracking(request, arguments), Path(folder) / "probe")
    hours = extrapolated(result, steps, plan) * plan.world_size / HOUR
    return _within_limit(request, plan, hours, f"a probe of {steps} train steps")


def extrapolated(result: StepResult, steps: int, plan: Plan) -> float:
    """Return the seconds of the planned run, by those of a probe.

    Args:
        result: of the probe.
        steps: train steps that it made.
        plan: of the whole run.
    """
    of_training = result.metrics.get("train_runtime", 0.0)
    of_evaluation = sum(
        value for name, value in result.metrics.items() if name.startswith("eval_") and name.endswith("_runtime")
    )
    fixed: float = result.seconds["total"] - of_training
    a_step = max(of_training - of_evaluation, 0.0) / steps
    return fixed + a_step * plan.train_steps + of_evaluation * len(plan.evaluations)
