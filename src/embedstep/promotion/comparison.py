"""The decision between two models from their scores on the same queries: a paired bootstrap and a set of conditions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from embedstep.output.gains import Gain, QueryScores, bootstrap_gain
from embedstep.request.schema import Promotion

Action = Literal["promote", "hold", "reject"]
_MIN_QUERIES = 2
_MIN_SLICE_QUERIES = 20
"""Queries from which a slice counts: the mean of fewer says little."""


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
