"""`embedstep promote`: score a model and the champion on the same queries, decide, and update the registry."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from embedstep.errors import OK, EmbedstepError, InvalidRequestError
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult, read_json, result_from_json, write_json
from embedstep.promotion.comparison import Gain, Gate, Verdict, decide
from embedstep.promotion.decision import Decision, decision_from_json
from embedstep.promotion.registry import open_registry
from embedstep.promotion.reindex import compare_spaces
from embedstep.promotion.scoring import ScoredModels, Scores, deciding_evaluator, deciding_metric, score_models
from embedstep.report.background import write_report_in_subprocess
from embedstep.request.schema import Promotion, TrainRequest
from embedstep.request.trackers import MLFLOW
from embedstep.tracking.environment import tracking_environ
from embedstep.tracking.sender import tracking_uri

_CHALLENGER, _CHAMPION = "challenger", "champion"
_ATTEMPTS = 3
_EXAMPLES = 10
_MEGABYTE = 1e6


def promote(request: TrainRequest, output: Path, *, champion: str | None = None) -> Decision:
    """Compare the model in an output folder with the champion, and promote it in the registry if it is better.

    The champion is that of the registry or, if there is none yet, the base model of the request. The decision is
    written to `verdict.json` in the output folder, and to the report. Its `missing` lists what could not be recorded,
    which does not affect the decision.

    Args:
        request: names the eval data, the evaluators, the conditions and the registered model.
        output: output folder of the run.
        champion: model to compare with in place of the registry's champion; the registry is not changed then.

    Raises:
        InvalidRequestError: the run has no model, the request has no metric to compare, or the data is refused.
        CannotStartError: the registry or the hub did not answer.
        TrainingFailedError: a model could not be scored.
    """
    folder = OutputFolder(output.absolute())
    result = _read_finished(folder)
    if result.skip_reason is not None:
        return _hold_untrained(request, folder, result)
    registry = None
    if champion is not None or request.tracking.kind != MLFLOW or request.tracking.register_as is None:
        decision = _decide(request, folder, {"model": champion, "is_base": champion is None}, {})
    else:
        registry = open_registry(request)
        decision = _decide_in_registry(request, folder, result, registry)
    write_json(folder.verdict, decision.to_json())
    return replace(decision, missing=tuple(_record(request, folder, result, decision, registry)))


def _record(
    request: TrainRequest, folder: OutputFolder, result: StepResult, decision: Decision, registry: Any
) -> Iterator[str]:
    """Write the report, record it with the verdict, and yield what could not be recorded."""
    if folder.plan.exists():
        yield from write_report_in_subprocess(folder.path)
    if request.tracking.kind != MLFLOW or result.run_id is None:
        return
    tags = {"embedstep.verdict": decision.action, "embedstep.reasons": " / ".join(decision.verdict.reasons)}
    record_files = import_module("embedstep.tracking.mlflow_registry").record_files
    try:
        record_files(
            tracking_uri(request.tracking, tracking_environ()),
            result.run_id,
            [file for file in (folder.verdict, folder.report) if file.exists()],
        )
        if registry is not None:
            registry.tag(decision.challenger["version"], result.run_id, tags)
    except EmbedstepError as error:
        yield f"the verdict: {error}; run embedstep promote again to record it"


def _read_finished(folder: OutputFolder) -> StepResult:
    result = result_from_json(read_json(folder.result)) if folder.result.exists() else None
    if result is not None and result.skip_reason is not None:
        return result
    if result is None or result.exit_code != OK or not folder.model.is_dir():
        raise InvalidRequestError.at(str(folder.path), "contains no finished model; promote needs a successful run")
    return result


def _decide_in_registry(request: TrainRequest, folder: OutputFolder, result: StepResult, registry: Any) -> Decision:
    """Compare with the registry's champion, and again if the champion has changed meanwhile."""
    name = registry.name
    ours = registry.find_version(result.run_id) if result.run_id else None
    if ours is None:
        message = f"has no version of {name} in the registry; embedstep sync {folder.path} sends a pending one"
        raise InvalidRequestError.at(str(folder.path), message)
    about = {"version": ours.number, "run_id": ours.run_id}
    for _ in range(_ATTEMPTS):
        serving = registry.champion()
        if serving == ours:
            return _read_earlier(folder, ours.number) or _hold_champion(request, folder, about)
        with _download(registry, serving) as against:
            decision = _decide(request, folder, against, about)
        if decision.action != "promote" or registry.promote(ours, serving):
            return decision
    raise InvalidRequestError.at(name, f"got another champion {_ATTEMPTS} times during the comparison; try again")


def _read_earlier(folder: OutputFolder, version: str) -> Decision | None:
    """Return the verdict that promoted the challenger, if an interrupted call has left it."""
    if not folder.verdict.exists():
        return None
    decision = decision_from_json(read_json(folder.verdict))
    return decision if decision.action == "promote" and decision.challenger.get("version") == version else None


def _hold_untrained(request: TrainRequest, folder: OutputFolder, result: StepResult) -> Decision:
    serving = {"model": result.champion, "is_base": False}
    reason = (
        f"nothing was trained: {result.stop_reason or f'{result.champion} was trained from the same request and rows'}"
    )
    held = _hold_champion(request, folder, {})
    return replace(held, verdict=Verdict(action="hold", reasons=(reason,)), champion=serving)


def _hold_champion(request: TrainRequest, folder: OutputFolder, about: Mapping[str, Any]) -> Decision:
    model = {"model": str(folder.model), **about}
    return Decision(
        verdict=Verdict(action="hold", reasons=("the challenger is already the champion",)),
        metric=request.promotion.metric or "",
        challenger=model,
        champion={**model, "is_base": False},
        metrics={},
        data={},
    )


@contextmanager
def _download(registry: Any, serving: Any) -> Iterator[dict[str, Any]]:
    if serving is None:
        yield {"model": None, "is_base": True}
        return
    with tempfile.TemporaryDirectory(prefix="embedstep-champion-") as folder:
        model = registry.download(serving, Path(folder))
        yield {"model": str(model), "is_base": False, "version": serving.number, "run_id": serving.run_id}


def _decide(
    request: TrainRequest, folder: OutputFolder, against: Mapping[str, Any], about: Mapping[str, Any]
) -> Decision:
    challenger = {"model": str(folder.model), **about}
    scored = score_models(request, {_CHALLENGER: str(folder.model), _CHAMPION: against["model"]})
    new, old = scored.models[_CHALLENGER], scored.models[_CHAMPION]
    gate = _gate(request, new)
    decides = deciding_evaluator(request)
    name = decides.name if decides else ""
    slices = new.slices.get(name)
    verdict = decide(gate, new.of_queries[gate.metric], old.of_queries[gate.metric], slices)
    dimensions = _dimensions(gate, scored)
    faults = (
        *_check_dimensions(gate.metric, dimensions),
        *_check_evaluators(request, name, gate, scored),
        *_check_limits(request.promotion, new),
    )
    won, lost = _examples(name, gate.metric, new, old)
    verdict = replace(verdict, reasons=(*verdict.reasons, *_report_changed_data(folder, scored)))
    return Decision(
        verdict=replace(verdict, action="reject", reasons=(*faults, *verdict.reasons)) if faults else verdict,
        metric=gate.metric,
        challenger=challenger,
        champion=against,
        metrics={name: scores.metrics for name, scores in scored.models.items()},
        data=scored.data,
        dimensions=dimensions,
        of_metrics=_gains(gate, scored),
        won=won,
        lost=lost,
        reindex=compare_spaces(old, new, request.promotion.index_size) if old.space and new.space else None,
        measured={name: _measured(scores) for name, scores in scored.models.items()},
    )


def _report_changed_data(folder: OutputFolder, scored: ScoredModels) -> Iterator[str]:
    """Yield eval datasets that have changed since the run, whose own scores differ from those of the verdict."""
    for item in read_json(folder.plan)["datasets"] if folder.plan.exists() else ():
        now = scored.data.get(item["name"], item["fingerprint"])
        if item["split"] == "eval" and now != item["fingerprint"]:
            yield f"data.eval.{item['name']} has changed since the run; both models were scored on the current rows"


def _check_evaluators(request: TrainRequest, own: str, gate: Gate, scored: ScoredModels) -> Iterator[str]:
    """Yield other evaluators on whose data the challenger is worse, such as one with older questions.

    The metric is the deciding one, and the limit is that of slices.
    """
    for name in (item.name for item in request.evaluators):
        metric = f"{name}{gate.metric.removeprefix(own)}"
        gain = _gain(gate, scored, metric) if name != own else None
        if gain is not None and gate.slice_floor is not None and gain.gain < gate.slice_floor:
            yield (
                f"{metric} {gain.challenger:.4f} against {gain.champion:.4f} on {gain.queries:,} queries, "
                f"{gain.gain:+.4f}; more than the allowed loss of {-gate.slice_floor:g}"
            )


def _measured(scores: Scores) -> dict[str, float | None]:
    return {
        "megabytes": round(scores.bytes / _MEGABYTE, 2),
        "milliseconds": scores.milliseconds,
        "documents_per_second": scores.documents_per_second,
    }


def _check_limits(asked: Promotion, scores: Scores) -> Iterator[str]:
    megabytes, milliseconds = scores.bytes / _MEGABYTE, scores.milliseconds or 0.0
    if asked.max_megabytes is not None and megabytes > asked.max_megabytes:
        yield f"the weights take {megabytes:.1f} MB, more than promotion.max_megabytes ({asked.max_megabytes:g})"
    if asked.max_milliseconds is not None and milliseconds > asked.max_milliseconds:
        yield f"a query takes {milliseconds:.1f} ms, more than promotion.max_milliseconds ({asked.max_milliseconds:g})"


def _gains(gate: Gate, scored: ScoredModels) -> dict[str, Gain]:
    """Return the gain in each metric of the deciding evaluator, at the full dimension."""
    prefix = gate.metric.rpartition("_")[0]
    names = [name for name in scored.models[_CHALLENGER].of_queries if name.rpartition("_")[0] == prefix]
    return {name: gain for name in names if (gain := _gain(gate, scored, name)) is not None}


def _gain(gate: Gate, scored: ScoredModels, metric: str) -> Gain | None:
    return scored.gain(metric, _CHALLENGER, _CHAMPION, confidence=gate.confidence)


def _examples(name: str, metric: str, new: Scores, old: Scores) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the queries with the largest gains and losses, with the top document of each model."""
    gains = new.of_queries[metric] - old.of_queries[metric]
    order = [int(row) for row in gains.argsort(kind="stable")]

    def example(row: int) -> dict[str, Any]:
        text = new.texts[name][row]
        return {
            "query": text["query"],
            "relevant": text["relevant"],
            "champion": float(old.of_queries[metric][row]),
            "challenger": float(new.of_queries[metric][row]),
            "champion_found": old.texts[name][row]["found"],
            "challenger_found": text["found"],
        }

    lost = [example(row) for row in order[:_EXAMPLES] if gains[row] < 0]
    return [example(row) for row in order[::-1][:_EXAMPLES] if gains[row] > 0], lost


def _gate(request: TrainRequest, scores: Scores) -> Gate:
    asked = request.promotion
    metric = deciding_metric(request) or next((name for name in scores.of_queries if name.endswith("_ndcg@10")), None)
    if metric is None or metric not in scores.of_queries:
        known = ", ".join(name for name in scores.of_queries if ":" not in name) or "none in this request"
        message = f"is {metric}, which has no score for each query; use a metric of information_retrieval: {known}"
        raise InvalidRequestError.at("promotion.metric", message)
    return Gate(
        metric=metric, minimum_gain=asked.minimum_gain, confidence=asked.confidence, slice_floor=-asked.max_slice_loss
    )


def _dimensions(gate: Gate, scored: ScoredModels) -> dict[int, Gain]:
    names = [name for name in scored.models[_CHALLENGER].of_queries if name.endswith(f":{gate.metric}")]
    found = {int(name.partition(":")[0]): _gain(gate, scored, name) for name in names}
    return {size: gain for size, gain in found.items() if gain is not None}


def _check_dimensions(metric: str, dimensions: Mapping[int, Gain]) -> Iterator[str]:
    """Yield truncated dimensions at which the challenger is worse, because one of them may be in production."""
    for size, gain in dimensions.items():
        if gain.high < 0:
            scores = f"{metric} {gain.challenger:.4f} against {gain.champion:.4f}"
            yield f"at {size} dimensions: {scores}; the challenger is worse"


def roll_back(request: TrainRequest) -> str:
    """Make the previous champion of the registered model the champion again, and return a message.

    Raises:
        InvalidRequestError: the request registers no model, or there is no previous champion.
        CannotStartError: the registry did not answer.
    """
    name = request.tracking.register_as
    if request.tracking.kind != MLFLOW or name is None:
        raise InvalidRequestError.at("tracking.register_as", "is missing; name the registered model")
    former = open_registry(request).roll_back()
    if former is None:
        raise InvalidRequestError.at("tracking.register_as", f"{name} has no previous champion")
    return f"{name}: version {former.number} is the champion again"
