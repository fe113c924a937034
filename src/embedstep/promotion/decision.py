"""What a gate has decided, as a value that is written down and read again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from embedstep.promotion.comparison import Gain, Verdict, Word
from embedstep.promotion.reindex import Reindex

VERDICT_FORMAT = "embedstep.verdict/1"


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
        of_metrics: gain in each metric of the evaluator that decided.
        won: queries that the challenger answers best by the champion: `query`, `relevant`, `champion` and `challenger`
            (the scores), `champion_found` and `challenger_found` (the first documents).
        lost: the same of the queries that it answers worst by it.
        reindex: whether documents have to be embedded again; None where nothing serves yet.
        measured: `megabytes`, `milliseconds` and `documents_per_second` of both.
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
            "gains": {name: _gain_json(one) for name, one in self.of_metrics.items()},
            "examples": {"won": list(self.won), "lost": list(self.lost)},
            "reindex": None if self.reindex is None else asdict(self.reindex),
            "measured": {name: dict(facts) for name, facts in self.measured.items()},
            "metrics": {name: dict(metrics) for name, metrics in self.metrics.items()},
            "data": dict(self.data),
        }


def _gain_json(gain: Gain) -> dict[str, Any]:
    return {**asdict(gain), "gain": gain.gain}
