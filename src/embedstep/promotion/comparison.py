"""The decision between two models from their scores on the same queries: a paired bootstrap and a set of conditions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedstep.request.schema import Promotion

QueryScores = NDArray[np.float64]
"""One score for each query, shape (queries,)."""
Action = Literal["promote", "hold", "reject"]
_RESAMPLES = 10_000
_MIN_QUERIES = 2
_MIN_SLICE_QUERIES = 20
"""Queries from which a slice counts: the mean of fewer says little."""
_SEED = 0
"""Fixed, so that the same scores give the same verdict."""
_BATCH_VALUES = 1 << 20
"""Resampled values in memory at once, 8 bytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """Gain of a challenger over a champion.

    Attributes:
        queries: number of queries.
        champion: mean score of the champion.
        challenger: mean score of the challenger.
        low: lower end of the confidence interval of the gain.
        high: upper end of the confidence interval of the gain.
        gain: difference of the means.
    """

    queries: int
    champion: float
    challenger: float
    low: float
    high: float
    gain: float


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


def decide(
    metric: str,
    conditions: Promotion,
    challenger: QueryScores,
    champion: QueryScores,
    slices: Sequence[str] | None = None,
) -> Verdict:
    """Compare two models on the same queries. A tie keeps the champion.

    Args:
        metric: name of the metric, for the reasons.
        conditions: conditions for the challenger.
        challenger: its score of each query, shape (queries,).
        champion: score of the champion of the same queries, shape (queries,).
        slices: slice of each query, or None.

    Raises:
        ValueError: the numbers of queries differ, or are below two.
    """
    if challenger.shape != champion.shape or len(champion) < _MIN_QUERIES:
        raise ValueError(f"scores of {len(challenger)} and of {len(champion)} queries cannot be compared")
    # A NaN that was taken for 0 would win by a metric of which less is better.
    for name, scores in (("challenger", challenger), ("champion", champion)):
        if wrong := int((~np.isfinite(scores)).sum()):
            reason = f"{metric} of the {name} is not finite for {wrong:,} of {len(scores):,} queries"
            return Verdict(action="reject", reasons=(reason,))
    gain = bootstrap_gain(challenger, champion, conditions.confidence)
    names = np.asarray(slices or ())
    by_slice = {
        name: bootstrap_gain(challenger[names == name], champion[names == name], conditions.confidence)
        for name, queries in sorted(Counter(slices or ()).items())
        if queries >= _MIN_SLICE_QUERIES
    }
    losses = {name: excessive_loss(metric, conditions, one) for name, one in by_slice.items()}
    faults = [f"slice {name}: {loss}" for name, loss in losses.items() if loss]
    action, reason = _judge(metric, conditions, gain)
    return Verdict(action="reject" if faults else action, reasons=(*faults, reason), gain=gain, slices=by_slice)


def _judge(metric: str, conditions: Promotion, gain: Gain) -> tuple[Action, str]:
    result = (
        f"{metric} {gain.challenger:.4f} against {gain.champion:.4f}: {gain.gain:+.4f}, "
        f"{conditions.confidence:.0%} confidence interval {gain.low:+.4f} to {gain.high:+.4f}"
    )
    if gain.high < 0:
        return "reject", f"{result}; the challenger is worse"
    if gain.low <= 0:
        return "hold", f"{result}; not significant"
    if gain.gain < conditions.minimum_gain:
        return "hold", f"{result}; below the minimum gain of {conditions.minimum_gain:g}"
    return "promote", result


def excessive_loss(metric: str, conditions: Promotion, gain: Gain) -> str:
    """Say by how much a part of the queries loses more than `max_slice_loss`, or return nothing."""
    if gain.gain >= -conditions.max_slice_loss:
        return ""
    return (
        f"{metric} {gain.challenger:.4f} against {gain.champion:.4f} on {gain.queries:,} queries, {gain.gain:+.4f}; "
        f"more than the allowed loss of {conditions.max_slice_loss:g}"
    )


def bootstrap_gain(challenger: QueryScores, champion: QueryScores, confidence: float) -> Gain:
    """Compute the gain and its percentile interval by a paired bootstrap (Efron and Tibshirani, 1993, chapter 13).

    Queries are drawn with replacement, with the scores of both models.

    Args:
        challenger: its score of each query, shape (queries,).
        champion: score of the champion of the same queries, shape (queries,).
        confidence: confidence level of the interval.
    """
    # Imported here, because the import takes a third of a second.
    from scipy.stats import bootstrap

    found = bootstrap(
        (challenger - champion,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _BATCH_VALUES // len(champion)),
        confidence_level=confidence,
        method="percentile",
        rng=_SEED,
    )
    return Gain(
        queries=len(champion),
        champion=float(champion.mean()),
        challenger=float(challenger.mean()),
        low=float(found.confidence_interval.low),
        high=float(found.confidence_interval.high),
        gain=float(challenger.mean()) - float(champion.mean()),
    )
