"""The decision of a gate, as a value that is written to `verdict.json` and read again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from embedstep.promotion.comparison import Action, Gain, Verdict
from embedstep.promotion.reindex import Reindex

VERDICT_FORMAT = "embedstep.verdict/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The decision of a gate, and the measurements behind it.

    Attributes:
        verdict: verdict and reasons.
        metric: metric that decided.
        challenger: `model` of the challenger, and `version` and `run_id` if it is registered.
        champion: the same of the model that it was compared with; `is_base` if nothing is in production yet.
        metrics: mean metrics of both, by `challenger` and `champion`.
        data: fingerprint of each eval dataset.
        dimensions: gain at each truncated dimension.
        of_metrics: gain in each metric of the evaluator that decided.
        won: queries with the largest gain: `query`, `relevant`, the scores `champion` and `challenger`, and the top
            documents `champion_found` and `challenger_found`.
        lost: the same for the queries with the largest loss.
        reindex: whether documents must be embedded again; None if nothing is in production yet.
        missing: what could not be recorded, one sentence each.
        measured: `megabytes`, `milliseconds` and `documents_per_second` of both models.
    """

    verdict: Verdict
    metric: str
    challenger: Mapping[str, Any]
    champion: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]]
    data: Mapping[str, str]
    dimensions: Mapping[int, Gain] = field(default_factory=dict)
    of_metrics: Mapping[str, Gain] = field(default_factory=dict)
    won: Sequence[Mapping[str, Any]] = ()
    lost: Sequence[Mapping[str, Any]] = ()
    reindex: Reindex | None = None
    measured: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def action(self) -> Action:
        """`promote`, `hold` or `reject`."""
        return self.verdict.action

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `verdict.json`."""
        gain = self.verdict.gain
        plain: dict[str, Any] = _finite(
            {
                "format": VERDICT_FORMAT,
                "verdict": self.action,
                "reasons": list(self.verdict.reasons),
                "metric": self.metric,
                "challenger": dict(self.challenger),
                "champion": dict(self.champion),
                "gain": None if gain is None else _gain_json(gain),
                "slices": {name: _gain_json(one) for name, one in self.verdict.slices.items()},
                "dimensions": {str(size): _gain_json(one) for size, one in self.dimensions.items()},
                "gains": {name: _gain_json(one) for name, one in self.of_metrics.items()},
                "examples": {"won": list(self.won), "lost": list(self.lost)},
                "reindex": None if self.reindex is None else asdict(self.reindex),
                "measured": {name: dict(facts) for name, facts in self.measured.items()},
                "metrics": {name: dict(metrics) for name, metrics in self.metrics.items()},
                "data": dict(self.data),
            }
        )
        return plain


def decision_from_json(data: Mapping[str, Any]) -> Decision:
    """Read what `Decision.to_json` wrote."""
    return Decision(
        verdict=Verdict(
            action=data["verdict"],
            reasons=tuple(data["reasons"]),
            gain=_gain(data["gain"]) if data["gain"] else None,
            slices={name: _gain(one) for name, one in data["slices"].items()},
        ),
        metric=data["metric"],
        challenger=data["challenger"],
        champion=data["champion"],
        metrics=data["metrics"],
        data=data["data"],
        dimensions={int(size): _gain(one) for size, one in data["dimensions"].items()},
        of_metrics={name: _gain(one) for name, one in data["gains"].items()},
        won=data["examples"]["won"],
        lost=data["examples"]["lost"],
        reindex=Reindex(**{**data["reindex"], "reasons": tuple(data["reindex"]["reasons"])})
        if data["reindex"]
        else None,
        measured=data["measured"],
    )


def _gain(data: Mapping[str, Any]) -> Gain:
    return Gain(**{name: value for name, value in data.items() if name != "gain"})


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by null, because JSON has neither."""
    match value:
        case dict():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _gain_json(gain: Gain) -> dict[str, Any]:
    return {**asdict(gain), "gain": gain.gain}
