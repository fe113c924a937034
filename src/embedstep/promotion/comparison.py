"""The decision between two models from their scores on the same queries: a paired bootstrap and a set of conditions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

QueryScores = NDArray[np.float64]
"""One score for each query, shape (queries,)."""
Action = Literal["promote", "hold", "reject"]
_RESAMPLES = 10_000
_MIN_QUERIES = 2
_BATCH_VALUES = 1 << 20
"""Resampled values in memory at once, 8 bytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """Conditions for replacing the production model.

    Attributes:
        metric: metric to compare.
        minimum_gain: minimum gain over the champion, in units of the metric.
        confidence: confidence level of the interval of the gain.
        slice_floor: lowest gain allowed in any slice, a negative number; None to ignore slices.
        slice_size: minimum number of queries of a slice that counts.
        seed: seed of the bootstrap.
    """

    metric: str
    minimum_gain: float = 0.0
    confidence: float = 0.95
    slice_floor: float | None = None
    slice_size: int = 20
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """Gain of a challenger over a champion.

    Attributes:
        queries: number of queries.
        champion: mean score of the champion.
        challenger: mean score of the challenger.
        low: lower end of the confidence interval of the gain.
        high: upper end of the confidence interval of the gain.
    """

    queries: int
    champion: float
    challenger: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """Difference of the means."""
        return self.challenger - self.champion


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What to do with a challenger.

    Attributes:
        action: `promote`, `hold` (keep the champion, nothing is wrong) or `reject`.
        reasons: reasons, one sentence each.
        gain: gain over all queries; None if it could not be computed.
        slices: gain in each slice.
    """

    action: Action
    reasons: tuple[str, ...]
    gain: Gain | None = None
    slices: Mapping[str, Gain] = field(default_factory=dict)


def decide(gate: Gate, challenger: QueryScores, champion: QueryScores, slices: Sequence[str] | None = None) -> Verdict:
    """Compare two models on the same queries. A tie keeps the champion.

    Args:
        gate: conditions for the challenger.
        challenger: its score of each query, shape (queries,).
        champion: score of the champion of the same queries, shape (queries,).
        slices: slice of each query, or None.

    Raises:
        ValueError: the numbers of queries differ, or are below two.
    """
    if challenger.shape != champion.shape or len(champion) < _MIN_QUERIES:
        raise ValueError(f"scores of {len(challenger)} and of {len(champion)} queries cannot be compared")
    for name, scores in (("challenger", challenger), ("champion", champion)):
        if wrong := int((~np.isfinite(scores)).sum()):
            reason = f"{gate.metric} of the {name} is not finite for {wrong:,} of {len(scores):,} queries"
            return Verdict(action="reject", reasons=(reason,))
    gain = bootstrap_gain(gate, challenger, champion)
    by_slice = dict(_by_slice(gate, challenger, champion, slices)) if slices is not None else {}
    action, reason = _judge(gate, gain)
    below = tuple(_below_floor(gate, by_slice))
    return Verdict(action="reject" if below else action, reasons=(*below, reason), gain=gain, slices=by_slice)


def _judge(gate: Gate, gain: Gain) -> tuple[Action, str]:
    result = (
        f"{gate.metric} {gain.challenger:.4f} against {gain.champion:.4f}: {gain.gain:+.4f}, "
        f"{gate.confidence:.0%} confidence interval {gain.low:+.4f} to {gain.high:+.4f}"
    )
    if gain.high < 0:
        return "reject", f"{result}; the challenger is worse"
    if gain.low <= 0:
        return "hold", f"{result}; not significant"
    if gain.gain < gate.minimum_gain:
        return "hold", f"{result}; below the minimum gain of {gate.minimum_gain:g}"
    return "promote", result


def _by_slice(
    gate: Gate, challenger: QueryScores, champion: QueryScores, slices: Sequence[str]
) -> Iterator[tuple[str, Gain]]:
    names = np.asarray(slices)
    for name in sorted(set(slices)):
        here = names == name
        if here.sum() >= gate.slice_size:
            yield name, bootstrap_gain(gate, challenger[here], champion[here])


def _below_floor(gate: Gate, slices: Mapping[str, Gain]) -> Iterator[str]:
    if gate.slice_floor is None:
        return
    for name, gain in slices.items():
        if gain.gain < gate.slice_floor:
            yield (
                f"slice {name}: {gate.metric} {gain.challenger:.4f} against {gain.champion:.4f} on {gain.queries:,} "
                f"queries, {gain.gain:+.4f}; more than the allowed loss of {-gate.slice_floor:g}"
            )


def bootstrap_gain(gate: Gate, challenger: QueryScores, champion: QueryScores) -> Gain:
    """Compute the gain and its percentile interval by a paired bootstrap (Efron and Tibshirani, 1993, chapter 13).

    Queries are drawn with replacement, with the scores of both models.
    """
    # Imported here, because the import takes a third of a second.
    from scipy.stats import bootstrap

    found = bootstrap(
        (challenger - champion,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _BATCH_VALUES // len(champion)),
        confidence_level=gate.confidence,
        method="percentile",
        rng=gate.seed,
    )
    return Gain(
        queries=len(champion),
        champion=float(champion.mean()),
        challenger=float(challenger.mean()),
        low=float(found.confidence_interval.low),
        high=float(found.confidence_interval.high),
    )
