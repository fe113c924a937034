"""Whether the model of a run may serve: scored beside the champion on the same queries, decided, and made champion."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from embedstep.errors import OK, Problem, RefusedError
from embedstep.output import OutputFolder
from embedstep.promotion.comparison import Gain, Gate, Verdict, decide
from embedstep.promotion.decision import Decision
from embedstep.promotion.reindex import reindex_of
from embedstep.promotion.scoring import Scored, Scores, score_models
from embedstep.request.schema import Promotion, TrainRequest
from embedstep.result import StepResult, read_json, result_from_json, write_json
from embedstep.tracking.sender import tracking_uri

_CHALLENGER, _CHAMPION = "challenger", "champion"
_ATTEMPTS = 3
_EXAMPLES = 10
_MEGABYTE = 1e6


def promote(request: TrainRequest, output: Path, *, champion: str | None = None) -> Decision:
    """Decide about the model in an output folder, and where it is registered make it the champion if it is to be.

    Without `champion` the one of the registry is taken, and where there is none yet the model that the request starts
    from. The decision is left in the output folder as `verdict.json`.

    Args:
        request: names the eval data, the evaluators, the gate and the registered model.
        output: the output folder of the run.
        champion: model to compare with in place of the registry's; nothing is changed in the registry then.

    Raises:
        RefusedError: the run has no model, the gate cannot decide by what the request names, or the data is refused.
        CannotStartError: the registry or the hub did not answer.
        TrainingFailedError: a model could not be scored.
    """
    result = _finished(output)
    if result.verdict == "unchanged":
        return _nothing_new(request, result)
    if champion is not None or request.tracking.kind == "none" or request.tracking.register_as is None:
        decision = _decided(request, result, {"model": champion, "is_base": champion is None}, {})
    else:
        decision = _in_registry(request, result, request.tracking.register_as)
    folder = OutputFolder(output)
    write_json(folder.verdict, decision.to_json())
    if folder.plan.exists():
        # The drawing library takes half a second to import, and nothing else here needs it.
        import_module("embedstep.report.page").write_report(output)
    if result.run_id and request.tracking.kind == "mlflow":
        record = import_module("embedstep.tracking.mlflow_registry").record_files
        files = [file for file in (folder.verdict, folder.report) if file.exists()]
        record(tracking_uri(request.tracking, os.environ), result.run_id, files)
    return decision


def _finished(output: Path) -> StepResult:
    folder = OutputFolder(output.absolute())
    result = result_from_json(read_json(folder.result)) if folder.result.exists() else None
    if result is not None and result.verdict == "unchanged":
        return result
    if result is None or result.exit_code != OK or not folder.model.is_dir():
        raise RefusedError([Problem(str(output), "holds no finished model; a gate needs a run that ended well")])
    return result


def _in_registry(request: TrainRequest, result: StepResult, name: str) -> Decision:
    """Decide beside the registry's champion; when another gate has changed that meanwhile, decide again."""
    registry = _registry(request, name)
    ours = registry.of_run(result.run_id) if result.run_id else None
    if ours is None:
        told = f"has no version of {name} in the registry; embedstep sync {result.output} sends one that is waiting"
        raise RefusedError([Problem(result.output, told)])
    about = {"version": ours.number, "run_id": ours.run_id}
    for _ in range(_ATTEMPTS):
        serving = registry.champion()
        if serving == ours:
            return _already(request, result, about)
        with _files_of(registry, serving) as against:
            decision = _decided(request, result, against, about)
        if decision.word != "promote" or registry.promote(ours, serving):
            break
    else:
        raise RefusedError([Problem(name, f"has got another champion {_ATTEMPTS} times meanwhile; decide again")])
    registry.tag(ours, {"embedstep.verdict": decision.word, "embedstep.reasons": " / ".join(decision.verdict.reasons)})
    return decision


def _nothing_new(request: TrainRequest, result: StepResult) -> Decision:
    serving = {"model": result.champion, "is_base": False}
    reason = f"nothing was trained: {result.champion} is of the same request and the same rows"
    return replace(_already(request, result, {}), verdict=Verdict(word="hold", reasons=(reason,)), champion=serving)


def _already(request: TrainRequest, result: StepResult, about: Mapping[str, Any]) -> Decision:
    model = {"model": str(result.model), **about}
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
    request: TrainRequest, result: StepResult, against: Mapping[str, Any], about: Mapping[str, Any]
) -> Decision:
    challenger = {"model": str(result.model), **about}
    scored = score_models(request, {_CHALLENGER: str(result.model), _CHAMPION: against["model"]})
    new, old = scored.models[_CHALLENGER], scored.models[_CHAMPION]
    gate = _gate(request, new)
    slices = next(iter(new.slices.values()), None)
    verdict = decide(gate, new.of_queries[gate.metric], old.of_queries[gate.metric], slices)
    dimensions = _dimensions(gate, scored)
    faults = (*_at_dimensions(gate.metric, dimensions), *_beyond_limits(request.promotion, new))
    won, lost = _examples(gate.metric, new, old)
    verdict = replace(verdict, reasons=(*verdict.reasons, *_changed_data(OutputFolder(Path(result.output)), scored)))
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


def _changed_data(folder: OutputFolder, scored: Scored) -> Iterator[str]:
    """Tell which eval data is another than the run had: the run's own scores are no longer those of the verdict."""
    for item in read_json(folder.plan)["datasets"] if folder.plan.exists() else ():
        now = scored.data.get(item["name"], item["fingerprint"])
        if item["split"] == "eval" and now != item["fingerprint"]:
            told = "has changed since the run; both models were scored on what it is now"
            yield f"data.eval.{item['name']} {told}"


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


def _gains(gate: Gate, scored: Scored) -> dict[str, Gain]:
    """Return the gain in each metric of the evaluator that decides, at the whole dimension."""
    prefix = gate.metric.rpartition("_")[0]
    names = [name for name in scored.models[_CHALLENGER].of_queries if name.rpartition("_")[0] == prefix]
    return {name: gain for name in names if (gain := _gain(gate, scored, name)) is not None}


def _gain(gate: Gate, scored: Scored, metric: str) -> Gain | None:
    return scored.gain(metric, _CHALLENGER, _CHAMPION, confidence=gate.confidence)


def _examples(metric: str, new: Scores, old: Scores) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the queries that were won and lost by most, with what each model has found for them."""
    name = next((name for name in new.texts if metric.startswith(f"{name}_")), None)
    if name is None:
        return [], []
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
    metric = asked.metric or next((name for name in scores.of_queries if name.endswith("_ndcg@10")), None)
    if metric is None or metric not in scores.of_queries:
        known = ", ".join(name for name in scores.of_queries if ":" not in name) or "none in this request"
        told = (
            f"is {metric}, which is no mean over queries; a gate decides by a metric of information_retrieval: {known}"
        )
        raise RefusedError([Problem("promotion.metric", told)])
    return Gate(
        metric=metric, minimum_gain=asked.minimum_gain, confidence=asked.confidence, slice_floor=-asked.slice_loss
    )


def _dimensions(gate: Gate, scored: Scored) -> dict[int, Gain]:
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
        RefusedError: the request registers no model, or there is no former champion.
        CannotStartError: the registry did not answer.
    """
    name = request.tracking.register_as
    if request.tracking.kind == "none" or name is None:
        raise RefusedError([Problem("tracking.register_as", "is missing; name the registered model")])
    former = _registry(request, name).roll_back()
    if former is None:
        raise RefusedError([Problem("tracking.register_as", f"{name} has no former champion to go back to")])
    return f"{name}: version {former.number} is the champion again"


def _registry(request: TrainRequest, name: str) -> Any:
    uri = tracking_uri(request.tracking, os.environ)
    return import_module("embedstep.tracking.mlflow_registry").Registry(uri, name)
