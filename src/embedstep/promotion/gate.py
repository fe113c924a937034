"""`embedstep promote`: score a model and the champion on the same queries, decide, and update the registry."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from embedstep.errors import OK, EmbedstepError, InvalidRequestError
from embedstep.output.folder import OutputFolder
from embedstep.output.gains import Gain
from embedstep.output.result import StepResult, read_json, result_from_json, write_json
from embedstep.promotion.comparison import decide, excessive_loss
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
    decision = _with_base(decision, result)
    write_json(folder.verdict, decision.to_json())
    return replace(decision, missing=tuple(_record(request, folder, result, decision, registry)))


def _with_base(decision: Decision, result: StepResult) -> Decision:
    """Return a decision with the scores of the challenger's base, by its own run."""
    worse = (f"the challenger is {result.worse_than_base}",) if result.worse_than_base else ()
    reasons = (*decision.reasons, *(reason for reason in worse if reason not in decision.reasons))
    return replace(decision, reasons=reasons, changes=result.changes)


def _record(
    request: TrainRequest, folder: OutputFolder, result: StepResult, decision: Decision, registry: Any
) -> Iterator[str]:
    """Write the report, record it with the verdict, and yield what could not be recorded."""
    if folder.plan.exists():
        yield from write_report_in_subprocess(folder.path)
    if request.tracking.kind != MLFLOW or result.run_id is None:
        return
    tags = {"embedstep.verdict": decision.action, "embedstep.reasons": " / ".join(decision.reasons)}
    record_files = import_module("embedstep.tracking.mlflow_registry").record_files
    try:
        uri = tracking_uri(request.tracking, tracking_environ())
        record_files(uri, result.run_id, [file for file in (folder.verdict, folder.report) if file.exists()])
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
        # An interrupted call may have promoted it and left the verdict.
        if serving == ours:
            return _read_earlier(folder, ours.number) or _hold_champion(request, folder, about)
        with _download(registry, serving) as against:
            decision = _decide(request, folder, against, about)
        # MLflow gives an alias to the last writer, so the champion must still be the one that was compared with.
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
    held = _hold_champion(request, folder, {})
    return replace(held, reasons=(f"nothing was trained: {result.untrained_reason}",), champion=serving)


def _hold_champion(request: TrainRequest, folder: OutputFolder, about: Mapping[str, Any]) -> Decision:
    model = {"model": str(folder.model), **about}
    return Decision(
        action="hold",
        reasons=("the challenger is already the champion",),
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
    conditions, metric = request.promotion, _metric(request, new)
    decides = deciding_evaluator(request)
    own = decides.name if decides else ""
    verdict = decide(metric, conditions, new.of_queries[metric], old.of_queries[metric], new.slices.get(own))
    truncated = _gains(conditions, scored, [name for name in new.of_queries if name.endswith(f":{metric}")])
    dimensions = {name.partition(":")[0]: gain for name, gain in truncated.items()}
    faults = (
        *_check_dimensions(metric, dimensions),
        *_check_evaluators(request, own, metric, scored),
        *_check_limits(conditions, new),
    )
    family = metric.rpartition("_")[0]
    return Decision(
        action="reject" if faults else verdict.action,
        reasons=(
            *faults,
            *verdict.reasons,
            *_report_changed_data(folder, scored),
            *_report_seen(scored),
            *scored.notes,
        ),
        gain=verdict.gain,
        slices=verdict.slices,
        metric=metric,
        challenger=challenger,
        champion=against,
        metrics={name: scores.metrics for name, scores in scored.models.items()},
        data=scored.data,
        dimensions=dimensions,
        gains=_gains(conditions, scored, [name for name in new.of_queries if name.rpartition("_")[0] == family]),
        examples=_examples(own, metric, new, old),
        reindex=compare_spaces(old, new, conditions.index_size) if old.space and new.space else None,
        measured={name: _measured(scores) for name, scores in scored.models.items()},
        seen=scored.seen,
    )


def _report_doubts(folder: OutputFolder, scored: ScoredModels) -> Iterator[str]:
    """Yield why the scores may not be those of the run or of the models in use."""
    yield from _report_changed_data(folder, scored)
    yield from _report_seen(scored)
    yield from scored.notes


def _report_changed_data(folder: OutputFolder, scored: ScoredModels) -> Iterator[str]:
    """Yield eval datasets that have changed since the run, whose own scores differ from those of the verdict."""
    for item in read_json(folder.plan)["datasets"] if folder.plan.exists() else ():
        now = scored.data.get(item["name"], item["fingerprint"])
        if item["split"] == "eval" and now != item["fingerprint"]:
            yield f"data.eval.{item['name']} has changed since the run; both models were scored on the current rows"


def _report_seen(scored: ScoredModels) -> Iterator[str]:
    """Yield which model was trained on rows that are held out today."""
    for model, datasets in scored.seen.items():
        for name, found in datasets.items():
            if found.seen:
                shares = f"{found.seen:,} of {found.anchors:,} held-out anchors of data.eval.{name}"
                yield f"the {model} was trained on {shares}, so its score is too high"


def _check_evaluators(request: TrainRequest, own: str, metric: str, scored: ScoredModels) -> Iterator[str]:
    """Yield other evaluators on whose data the challenger is worse, such as one with older questions.

    The metric is the deciding one, and the limit is that of slices.
    """
    others = [f"{item.name}{metric.removeprefix(own)}" for item in request.evaluators if item.name != own]
    for name, gain in _gains(request.promotion, scored, others).items():
        if loss := excessive_loss(name, request.promotion, gain):
            yield loss


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


def _gains(conditions: Promotion, scored: ScoredModels, names: Sequence[str]) -> dict[str, Gain]:
    """Return the gain in each metric that both models have for each query."""
    found = {name: scored.gain(name, _CHALLENGER, _CHAMPION, confidence=conditions.confidence) for name in names}
    return {name: gain for name, gain in found.items() if gain is not None}


def _examples(name: str, metric: str, new: Scores, old: Scores) -> dict[str, list[dict[str, Any]]]:
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

    return {
        "won": [example(row) for row in order[::-1][:_EXAMPLES] if gains[row] > 0],
        "lost": [example(row) for row in order[:_EXAMPLES] if gains[row] < 0],
    }


def _metric(request: TrainRequest, scores: Scores) -> str:
    metric = deciding_metric(request) or next((name for name in scores.of_queries if name.endswith("_ndcg@10")), None)
    if metric is None or metric not in scores.of_queries:
        known = ", ".join(name for name in scores.of_queries if ":" not in name) or "none in this request"
        message = f"is {metric}, which has no score for each query; use a metric of information_retrieval: {known}"
        raise InvalidRequestError.at("promotion.metric", message)
    return metric


def _check_dimensions(metric: str, dimensions: Mapping[str, Gain]) -> Iterator[str]:
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
