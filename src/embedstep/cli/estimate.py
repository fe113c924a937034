"""Estimates of what a run will cost, from past MLflow runs or from a trial of 20 steps."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from os import environ
from pathlib import Path
from statistics import median
from typing import Any

from embedstep.errors import InvalidRequestError
from embedstep.output.attempts import HOUR, FormerRun, cost_unit
from embedstep.output.result import StepResult
from embedstep.planning.plan import Plan
from embedstep.replay import run_or_raise, without_tracking
from embedstep.request.schema import TrainRequest
from embedstep.request.trackers import MLFLOW
from embedstep.runtime.text import count
from embedstep.tracking.sender import tracking_uri

_TRIAL_STEPS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The estimated cost of a run.

    Attributes:
        hours: hours of all processes together.
        unit: `GPU-hours` or `process-hours`.
        basis: what the estimate is based on.
    """

    hours: float
    unit: str
    basis: str


def estimate_from_past_runs(request: TrainRequest, plan: Plan) -> Estimate:
    """Estimate from MLflow runs with the same model, processes and devices, preferably on the same rows.

    Raises:
        InvalidRequestError: nothing is tracked, or there is no such run.
        CannotStartError: the tracking server does not answer.
    """
    if request.tracking.kind != MLFLOW:
        message = f"is {request.tracking.kind}, so there are no past runs to estimate from; use --estimate probe"
        raise InvalidRequestError.at("tracking.kind", message)
    uri = tracking_uri(request.tracking, environ)
    found: list[FormerRun] = import_module("embedstep.tracking.mlflow_registry").former_runs(uri, request, plan)
    same = [run for run in found if run.is_of_same_rows] or found
    if not same:
        message = f"the experiment {request.tracking.experiment} has no run of this model; use --estimate probe"
        raise InvalidRequestError.at("tracking.experiment", message)
    rows = "the same rows" if same[0].is_of_same_rows else "other rows"
    basis = f"{count(len(same), 'past run')} of the same model on {rows}"
    return _limit(request, plan, scale_hours(same, plan.train_steps), basis)


def _limit(request: TrainRequest, plan: Plan, hours: float, basis: str) -> Estimate:
    """Cap the estimate at launch.max_hours, where a run is stopped."""
    limit = (request.launch.max_hours or float("inf")) * plan.world_size
    if hours > limit:
        basis = f"{basis}, capped by launch.max_hours"
    return Estimate(hours=round(min(hours, limit), 6), unit=cost_unit(on_cpu=plan.on_cpu), basis=basis)


def scale_hours(runs: Sequence[FormerRun], train_steps: int) -> float:
    """Return the median of the runs' hours, each scaled to a number of train steps."""
    return round(median(run.hours / run.train_steps * train_steps for run in runs), 6)


def estimate_from_trial(request: TrainRequest, plan: Plan) -> Estimate:
    """Estimate from a training of a few steps and one evaluation, in a temporary folder.

    Raises:
        RunFailedError: the trial failed, as the full run would.
        InvalidRequestError: the request trains nothing, or trains in a cluster.
    """
    if request.launch.trainjob is not None:
        message = "is trainjob, but a trial runs on this machine; use --estimate former, based on runs in the cluster"
        raise InvalidRequestError.at("launch.kind", message)
    steps = min(_TRIAL_STEPS, plan.train_steps)
    if not steps:
        raise InvalidRequestError.at("arguments.do_train", "is false, so there is nothing to try")
    arguments: dict[str, Any] = {"max_steps": steps, "save_strategy": "no", "load_best_model_at_end": False}
    if plan.evaluations:
        arguments |= {"eval_strategy": "steps", "eval_steps": steps, "eval_on_start": False, "eval_delay": 0}
    with tempfile.TemporaryDirectory(prefix="embedstep-") as folder:
        result = run_or_raise(without_tracking(request, arguments), Path(folder) / "trial")
    hours = extrapolate_seconds(result, steps, plan) * plan.world_size / HOUR
    return _limit(request, plan, hours, f"a trial of {count(steps, 'train step')}")


def extrapolate_seconds(result: StepResult, steps: int, plan: Plan) -> float:
    """Return the seconds of a full run: the fixed part of a trial, plus its train steps and evaluations scaled up.

    Args:
        result: result of the trial.
        steps: train steps of the trial.
        plan: plan of the full run.
    """
    training = result.metrics.get("train_runtime", 0.0)
    evaluation = sum(
        value for name, value in result.metrics.items() if name.startswith("eval_") and name.endswith("_runtime")
    )
    fixed: float = result.seconds["total"] - training
    per_step = max(training - evaluation, 0.0) / steps
    return fixed + per_step * plan.train_steps + evaluation * len(plan.evaluations)
