"""Whether the model of a run may serve: scored beside the champion on the same queries, decided, and made champion."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from embedstep.errors import OK, EmbedstepError, InvalidRequestError, Problem
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult, read_json, result_from_json, write_json
from embedstep.promotion.comparison import Gain, Gate, Verdict, decide
from embedstep.promotion.decision import Decision, decision_from_json
from embedstep.promotion.registry import registry_of
from embedstep.promotion.reindex import reindex_of
from embedstep.promotion.scoring import ScoredModels, Scores, deciding, metric_of, score_models
from embedstep.report.background import write_report_in_subprocess
from embedstep.request.schema import Promotion, TrainRequest
from embedstep.tracking.environment import tracking_environ
from embedstep.tracking.sender import tracking_uri

_CHALLENGER, _CHAMPION = "challenger", "champion"
_ATTEMPTS = 3
_EXAMPLES = 10
_MEGABYTE = 1e6


def promote(request: TrainRequest, output: Path, *, champion: str | None = None) -> Decision:
    """Decide about the model in an output folder, and where it is registered make it the champion if it is to be.

    Without `champion` the one of the registry is taken, and where there is none yet the model that the request starts
    from. The decision is left in the output folder as `verdict.json`, and in the run's report. What cannot be recorded
    of it is told in its `missing`, and changes nothing about it.

    Args:
        request: names the eval data, the evaluators, the gate and the registered model.
        output: the output folder of the run.
        champion: model to compare with in place of the registry's; nothing is changed in the registry then.

    Raises:
        InvalidRequestError: the run has no model, the request names nothing to decide by, or the data is refused.
        CannotStartError: the registry or the hub did not answer.
        TrainingFailedError: a model could not be scored.
    """
    folder = OutputFolder(output.absolute())
    result = _finished(folder)
    if result.skip_reason is not None:
        return _nothing_new(request, folder, result)
    registry = None
    if champion is not None or request.tracking.kind == "none" or request.tracking.register_as is None:
        decision = _decided(request, folder, {"model": champion, "is_base": champion is None}, {})
    else:
        registry = registry_of(request)
        decision = _in_registry(request, folder, result, registry)
    write_json(folder.verdict, decision.to_json())
    return replace(decision, missing=tuple(_recorded(request, folder, result, decision, registry)))


def _recorded(
    request: TrainRequest, folder: OutputFolder, result: StepResult, decision: Decision, registry: Any
) -> Iterator[str]:
    """Write the report with the verdict, record both, and tell what could not be."""
    if folder.plan.exists():
        yield from write_report_in_subprocess(folder.path)
    if request.tracking.kind == "none" or result.run_id is None:
        return
    tags = {"embedstep.verdict": decision.word, "embedstep.reasons": " / ".join(decision.verdict.reasons)}
    record = import_module("embedstep.tracking.mlflow_registry").record_files
    try:
        record(
            tracking_uri(request.tracking, tracking_environ()),
            result.run_id,
            [file for file in (folder.verdict, folder.report) if file.exists()],
        )
        if registry is not None:
            registry.tag(decision.challenger["version"], result.run_id, tags)
    except EmbedstepError as error:
        yield f"the verdict: {error}; embedstep promote records it when it is called again"


def _finished(folder: OutputFolder) -> StepResult:
    result = result_from_json(read_json(folder.result)) if folder.result.exists() else None
    if result is not None and result.skip_reason is not None:
        return result
    if result is None or result.exit_code != OK or not folder.model.is_dir():
        raise InvalidRequestError(
            [Problem(str(folder.path), "holds no finished model; a gate needs a run that ended well")]
        )
    return result


def _in_registry(request: TrainRequest, folder: OutputFolder, result: StepResult, registry: Any) -> Decision:
    """Decide beside the registry's champion; when another gate has changed that meanwhile, decide again."""
    name = registry.name
    ours = registry.of_run(result.run_id) if result.run_id else None
    if ours is None:
        told = f"has no version of {name} in the registry; embedstep sync {folder.path} sends one that is waiting"
        raise InvalidRequestError([Problem(str(folder.path), told)])
    about = {"version": ours.number, "run_id": ours.run_id}
    for _ in range(_ATTEMPTS):
        serving = registry.champion()
        if serving == ours:
            return _before(folder, ours.number) or _already(request, folder, about)
        with _files_of(registry, serving) as against:
            decision = _decided(request, folder, against, about)
        if decision.word != "promote" or registry.promote(ours, serving):
            return decision
    raise InvalidRequestError([Problem(name, f"has got another champion {_ATTEMPTS} times meanwhile; decide again")])


def _before(folder: OutputFolder, version: str) -> Decision | None:
    """Return the verdict by which the challenger was made champion, where a call that broke off afterwards left it."""
    if not folder.verdict.exists():
        return None
    decision = decision_from_json(read_json(folder.verdict))
    return decision if decision.word == "promote" and decision.challenger.get("version") == version else None


def _nothing_new(request: TrainRequest, folder: OutputFolder, result: StepResult) -> Decision:
    serving = {"model": result.champion, "is_base": False}
    reason = (
        f"nothing was trained: {result.stop_reason or f'{result.champion} is of the same request and the same rows'}"
    )
    held = _already(request, folder, {})
    return replace(held, verdict=Verdict(word="hold", reasons=(reason,)), champion=serving)


def _already(request: TrainRequest, folder: OutputFolder, about: Mapping[str, Any]) -> Decision:
    model = {"model": str(folder.model), **about}
    return Decision(
        verdict=Verdict(word="hold", reasons=("the challenger is the champion already",)),
        metric=request.promotion.metric or "",
        challenger=model,
        champion={**model, "is_base": False},
        metrics={},
        data={},
    )


@contextmanager
def _files_of(registry: Any, serving: Any) -> Iterator[dict[str, Any]]:
    if serving is None:
        yield {"model": None, "is_base": True}
        return
    with tempfile.TemporaryDirectory(prefix="embedstep-champion-") as folder:
        model = registry.download(serving, Path(folder))
        yield {"model": str(model), "is_base": False, "version": serving.number, "run_id": serving.run_id}


def _decided(
    request: TrainRequest, folder: OutputFolder, against: Mapping[str, Any], about: Mapping[str, Any]
) -> Decision:
    challenger = {"model": str(folder.model), **about}
    scored = score_models(request, {_CHALLENGER: str(folder.model), _CHAMPION: against["model"]})
    new, old = scored.models[_CHALLENGER], scored.models[_CHAMPION]
    gate = _gate(request, new)
    decides = deciding(request)
    name = decides.name if decides else ""
    slices = new.slices.get(name)
    verdict = decide(gate, new.of_queries[gate.metric], old.of_queries[gate.metric], slices)
    dimensions = _dimensions(gate, scored)
    faults = (
        *_at_dimensions(gate.metric, dimensions),
        *_on_other_data(request, name, gate, scored),
        *_beyond_limits(request.promotion, new),
    )
    won, lost = _examples(name, gate.metric, new, old)
    verdict = replace(verdict, reasons=(*verdict.reasons, *_changed_data(folder, scored)))
    return Decision(
        verdict=replace(verdict, word="reject", reasons=(*faults, *verdict.reasons)) if faults else verdict,
        metric=gate.metric,
        challenger=challenger,
        champion=against,
        metrics={name: scores.metrics for name, scores in scored.models.items()},
        data=scored.data,
        dimensions=dimensions,
        of_metrics=_gains(gate, scored),
        won=won,
        lost=lost,
        reindex=reindex_of(old, new, request.promotion.documents) if old.space and new.space else None,
        measured={name: _measured(scores) for name, scores in scored.models.items()},
    )


def _changed_data(folder: OutputFolder, scored: ScoredModels) -> Iterator[str]:
    """Tell which eval data is another than the run had: the run's own scores are no longer those of the verdict."""
    for item in read_json(folder.plan)["datasets"] if folder.plan.exists() else ():
        now = scored.data.get(item["name"], item["fingerprint"])
        if item["split"] == "eval" and now != item["fingerprint"]:
            told = "has changed since the run; both models were scored on what it is now"
            yield f"data.eval.{item['name']} {told}"


def _on_other_data(request: TrainRequest, own: str, gate: Gate, scored: ScoredModels) -> Iterator[str]:
    """Tell where a model loses on the data of another evaluator: what it was good at before, such as older questions.

    The metric is the one that decides, and the floor that of slices.
    """
    for name in (item.name for item in request.evaluators):
        metric = f"{name}{gate.metric.removeprefix(own)}"
        gain = _gain(gate, scored, metric) if name != own else None
        if gain is not None and gate.slice_floor is not None and gain.gain < gate.slice_floor:
            yield (
                f"{metric} {gain.challenger:.4f} against {gain.champion:.4f} on {gain.queries:,} queries, "
                f"{gain.gain:+.4f}; no evaluator may lose more than {-gate.slice_floor:g}"
            )


def _measured(scores: Scores) -> dict[str, float | None]:
    return {
        "megabytes": round(scores.bytes / _MEGABYTE, 2),
        "milliseconds": scores.milliseconds,
        "documents_per_second": scores.documents_per_second,
    }


def _beyond_limits(asked: Promotion, scores: Scores) -> Iterator[str]:
    megabytes, milliseconds = scores.bytes / _MEGABYTE, scores.milliseconds or 0.0
    if asked.max_megabytes is not None and megabytes > asked.max_megabytes:
        yield f"its weights take {megabytes:.1f} MB, and promotion.max_megabytes is {asked.max_megabytes:g}"
    if asked.max_milliseconds is not None and milliseconds > asked.max_milliseconds:
        yield f"a query takes {milliseconds:.1f} ms, and promotion.max_milliseconds is {asked.max_milliseconds:g}"


def _gains(gate: Gate, scored: ScoredModels) -> dict[str, Gain]:
    """Return the gain in each metric of the evaluator that decides, at the whole dimension."""
    prefix = gate.metric.rpartition("_")[0]
    names = [name for name in scored.models[_CHALLENGER].of_queries if name.rpartition("_")[0] == prefix]
    return {name: gain for name in names if (gain := _gain(gate, scored, name)) is not None}


def _gain(gate: Gate, scored: ScoredModels, metric: str) -> Gain | None:
    return scored.gain(metric, _CHALLENGER, _CHAMPION, confidence=gate.confidence)


def _examples(name: str, metric: str, new: Scores, old: Scores) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the queries that were won and lost by most, with what each model has found for them."""
    gains = new.of_queries[metric] - old.of_queries[metric]
    order = [int(row) for row in gains.argsort(kind="stable")]

    def told(row: int) -> dict[str, Any]:
        text = new.texts[name][row]
        return {
            "query": text["query"],
            "relevant": text["relevant"],
            "champion": float(old.of_queries[metric][row]),
            "challenger": float(new.of_queries[metric][row]),
            "champion_found": old.texts[name][row]["found"],
            "challenger_found": text["found"],
        }

    lost = [told(row) for row in order[:_EXAMPLES] if gains[row] < 0]
    return [told(row) for row in order[::-1][:_EXAMPLES] if gains[row] > 0], lost


def _gate(request: TrainRequest, scores: Scores) -> Gate:
    asked = request.promotion
    metric = metric_of(request) or next((name for name in scores.of_queries if name.endswith("_ndcg@10")), None)
    if metric is None or metric not in scores.of_queries:
        known = ", ".join(name for name in scores.of_queries if ":" not in name) or "none in this request"
        told = (
            f"is {metric}, which is no mean over queries; a gate decides by a metric of information_retrieval: {known}"
        )
        raise InvalidRequestError([Problem("promotion.metric", told)])
    return Gate(
        metric=metric, minimum_gain=asked.minimum_gain, confidence=asked.confidence, slice_floor=-asked.slice_loss
    )


def _dimensions(gate: Gate, scored: ScoredModels) -> dict[int, Gain]:
    names = [name for name in scored.models[_CHALLENGER].of_queries if name.endswith(f":{gate.metric}")]
    found = {int(name.partition(":")[0]): _gain(gate, scored, name) for name in names}
    return {size: gain for size, gain in found.items() if gain is not None}


def _at_dimensions(metric: str, dimensions: Mapping[int, Gain]) -> Iterator[str]:
    """Tell where a model is worse at a dimension that it was trained for: somebody may be serving it."""
    for size, gain in dimensions.items():
        if gain.high < 0:
            told = f"{metric} {gain.challenger:.4f} against {gain.champion:.4f}; the challenger is worse"
            yield f"at {size} dimensions: {told}"


def roll_back(request: TrainRequest) -> str:
    """Make the former champion of the request's registered model the champion again, and say so.

    Raises:
        InvalidRequestError: the request registers no model, or there is no former champion.
        CannotStartError: the registry did not answer.
    """
    name = request.tracking.register_as
    if request.tracking.kind == "none" or name is None:
        raise InvalidRequestError([Problem("tracking.register_as", "is missing; name the registered model")])
    former = registry_of(request).roll_back()
    if former is None:
        raise InvalidRequestError([Problem("tracking.register_as", f"{name} has no former champion to go back to")])
    return f"{name}: version {former.number} is the champion again"
