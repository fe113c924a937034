"""From the scores of two models on the same queries to a verdict, with its reasons."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Word = Literal["promote", "hold", "reject"]
_RESAMPLES = 10_000
_FEWEST = 2
_AT_ONCE = 1 << 20
"""Numbers that are held at once, of 8 bytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What a challenger has to be.

    Attributes:
        metric: the score that decides.
        minimum_gain: least gain over the champion, in the units of the metric.
        confidence: share of resamples that the interval of the gain holds.
        slice_floor: gain below which no slice may be, a negative number; None where slices do not decide.
        slice_size: queries that a slice needs to decide anything.
        seed: of the resamples.
    """

    metric: str
    minimum_gain: float = 0.0
    confidence: float = 0.95
    slice_floor: float | None = None
    slice_size: int = 20
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """What a challenger gains over a champion on some queries.

    Attributes:
        queries: how many.
        champion: mean score of the champion.
        challenger: mean score of the challenger.
        low: lower end of the interval of the gain.
        high: upper end of it.
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
    """Whether a challenger may serve.

    Attributes:
        word: `promote`, `hold` (keep the champion; nothing is wrong) or `reject`.
        reasons: why, a sentence each.
        gain: over all queries; None where it could not be told.
        slices: the gain by slice.
    """

    word: Word
    reasons: tuple[str, ...]
    gain: Gain | None = None
    slices: Mapping[str, Gain] = field(default_factory=dict)


def decide(gate: Gate, challenger: Numbers, champion: Numbers, slices: Sequence[str] | None = None) -> Verdict:
    """Compare two models on the same queries. A tie keeps the champion.

    Args:
        gate: what the challenger has to be.
        challenger: its score of each query, shape (queries,).
        champion: the champion's score of the same queries, shape (queries,).
        slices: name of each query's slice, or None.

    Raises:
        ValueError: the models were scored on different numbers of queries, or on fewer than two.
    """
    if challenger.shape != champion.shape or len(champion) < _FEWEST:
        raise ValueError(f"scores of {len(challenger)} and of {len(champion)} queries cannot be compared")
    for name, scores in (("challenger", challenger), ("champion", champion)):
        if wrong := int((~np.isfinite(scores)).sum()):
            told = f"the {name}'s {gate.metric} is not a number for {wrong:,} of {len(scores):,} queries"
            return Verdict(word="reject", reasons=(told,))
    gain = gain_of(gate, challenger, champion)
    by_slice = dict(_by_slice(gate, challenger, champion, slices)) if slices is not None else {}
    word, reason = _of_all(gate, gain)
    below = tuple(_below_floor(gate, by_slice))
    return Verdict(word="reject" if below else word, reasons=(*below, reason), gain=gain, slices=by_slice)


def _of_all(gate: Gate, gain: Gain) -> tuple[Word, str]:
    told = (
        f"{gate.metric} {gain.challenger:.4f} against {gain.champion:.4f}: {gain.gain:+.4f}, and with "
        f"{gate.confidence:.0%} confidence between {gain.low:+.4f} and {gain.high:+.4f}"
    )
    if gain.high < 0:
        return "reject", f"{told}; the challenger is worse"
    if gain.low <= 0:
        return "hold", f"{told}; that may be chance"
    if gain.gain < gate.minimum_gain:
        return "hold", f"{told}; less than the {gate.minimum_gain:g} that is asked for"
    return "promote", told


def _by_slice(gate: Gate, challenger: Numbers, champion: Numbers, slices: Sequence[str]) -> Iterator[tuple[str, Gain]]:
    names = np.asarray(slices)
    for name in sorted(set(slices)):
        here = names == name
        if here.sum() >= gate.slice_size:
            yield name, gain_of(gate, challenger[here], champion[here])


def _below_floor(gate: Gate, slices: Mapping[str, Gain]) -> Iterator[str]:
    if gate.slice_floor is None:
        return
    for name, gain in slices.items():
        if gain.gain < gate.slice_floor:
            yield (
                f"slice {name}: {gate.metric} {gain.challenger:.4f} against {gain.champion:.4f} on {gain.queries:,} "
                f"queries, {gain.gain:+.4f}; no slice may lose more than {-gate.slice_floor:g}"
            )


def gain_of(gate: Gate, challenger: Numbers, champion: Numbers) -> Gain:
    """Return the gain and its interval by a paired bootstrap over the queries (Efron and Tibshirani, 1993, chapter 13).

    The percentile interval: queries are drawn with replacement, both models' scores of a query together.
    """
    # Imported here because it takes a third of a second, and a verdict is all that needs it.
    from scipy.stats import bootstrap

    found = bootstrap(
        (challenger - champion,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_ONCE // len(champion)),
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
