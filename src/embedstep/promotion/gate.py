"""Whether the model of a run may serve: scored beside the champion on the same queries, decided, and made champion."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from embedstep.errors import OK, Problem, RefusedError
from embedstep.output import OutputFolder
from embedstep.promotion.comparison import Gain, Gate, Verdict, Word, decide
from embedstep.promotion.scoring import Scored, Scores, score_models
from embedstep.request.schema import TrainRequest
from embedstep.result import StepResult, read_json, result_from_json, write_json
from embedstep.tracking.sender import tracking_uri

VERDICT_FORMAT = "embedstep.verdict/1"
_CHALLENGER, _CHAMPION = "challenger", "champion"
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a gate has decided, and by what.

    Attributes:
        verdict: the word and its reasons.
        metric: the score that decided.
        challenger: what the challenger is: `model`, and `version` and `run_id` where it is registered.
        champion: the same of the model that it was compared with; `is_base` tells that nothing has served yet.
        metrics: averages of both, by `challenger` and `champion`.
        data: fingerprint of each eval dataset.
        dimensions: gain by shorter dimension.
    """

    verdict: Verdict
    metric: str
    challenger: Mapping[str, Any]
    champion: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]]
    data: Mapping[str, str]
    dimensions: Mapping[int, Gain] = field(default_factory=dict)

    @property
    def word(self) -> Word:
        """`promote`, `hold` or `reject`."""
        return self.verdict.word

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `verdict.json`."""
        gain = self.verdict.gain
        return {
            "format": VERDICT_FORMAT,
            "verdict": self.word,
            "reasons": list(self.verdict.reasons),
            "metric": self.metric,
            "challenger": dict(self.challenger),
            "champion": dict(self.champion),
            "gain": None if gain is None else _gain_json(gain),
            "slices": {name: _gain_json(one) for name, one in self.verdict.slices.items()},
            "dimensions": {str(size): _gain_json(one) for size, one in self.dimensions.items()},
            "metrics": {name: dict(metrics) for name, metrics in self.metrics.items()},
            "data": dict(self.data),
        }


def _gain_json(gain: Gain) -> dict[str, Any]:
    return {**asdict(gain), "gain": gain.gain}


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
    write_json(OutputFolder(output).verdict, decision.to_json())
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
    gate = _gate(request, scored.models[_CHALLENGER])
    slices = next(iter(scored.models[_CHALLENGER].slices.values()), None)
    challenging, serving = (scored.models[name].of_queries[gate.metric] for name in (_CHALLENGER, _CHAMPION))
    dimensions = _dimensions(gate.metric, scored)
    return Decision(
        verdict=_at_all_dimensions(decide(gate, challenging, serving, slices), gate.metric, dimensions),
        metric=gate.metric,
        challenger=challenger,
        champion=against,
        metrics={name: scores.metrics for name, scores in scored.models.items()},
        data=scored.data,
        dimensions=dimensions,
    )


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


def _dimensions(metric: str, scored: Scored) -> dict[int, Gain]:
    sizes = [
        int(name.partition(":")[0]) for name in scored.models[_CHALLENGER].of_queries if name.endswith(f":{metric}")
    ]
    found = {size: scored.gain(f"{size}:{metric}", _CHALLENGER, _CHAMPION) for size in sizes}
    return {size: gain for size, gain in found.items() if gain is not None}


def _at_all_dimensions(verdict: Verdict, metric: str, dimensions: Mapping[int, Gain]) -> Verdict:
    """Reject what is worse at a dimension that the model was trained for: somebody may be serving it."""
    worse = tuple(
        f"at {size} dimensions: {metric} {gain.challenger:.4f} against {gain.champion:.4f}; the challenger is worse"
        for size, gain in dimensions.items()
        if gain.high < 0
    )
    return replace(verdict, word="reject", reasons=(*worse, *verdict.reasons)) if worse else verdict


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
