"""The gain of one model over another on the same queries, with its confidence interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QueryScores = NDArray[np.float64]
"""One score for each query, shape (queries,)."""
_RESAMPLES = 10_000
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
