"""Retrieval scores of each query; sentence-transformers' evaluators return only their means.

The formulas are those of `InformationRetrievalEvaluator`, so that the mean over the queries is its metric.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
"""Whether the document at each rank is relevant, shape (queries, ranks), best rank first."""
Scores = NDArray[np.float64]


def scores_of(hits: Hits, relevant: NDArray[np.int64], cutoffs: Mapping[str, list[int]]) -> dict[str, Scores]:
    """Return the scores of each query by metric, such as `ndcg@10`, shape (queries,).

    Args:
        hits: relevance of the documents found.
        relevant: number of relevant documents of each query, shape (queries,), at least 1.
        cutoffs: numbers of top ranks, by `accuracy`, `precision`, `recall`, `ndcg`, `mrr` and `map`.
    """
    return {
        f"{name}@{cutoff}": _METRICS[name](hits[:, :cutoff], relevant, cutoff)
        for name, several in cutoffs.items()
        for cutoff in several
    }


def _accuracy(hits: Hits, relevant: NDArray[np.int64], cutoff: int) -> Scores:
    return np.asarray(hits.any(axis=1), np.float64)


def _precision(hits: Hits, relevant: NDArray[np.int64], cutoff: int) -> Scores:
    return np.asarray(hits.sum(axis=1) / cutoff)


def _recall(hits: Hits, relevant: NDArray[np.int64], cutoff: int) -> Scores:
    return np.asarray(hits.sum(axis=1) / relevant)


def _ndcg(hits: Hits, relevant: NDArray[np.int64], cutoff: int) -> Scores:
    """Discounted cumulative gain over the ideal one (Järvelin and Kekäläinen, 2002), with gains of 0 and 1."""
    discounts = 1 / np.log2(np.arange(cutoff) + 2)
    best = np.cumsum(discounts)[np.minimum(relevant, cutoff) - 1]
    return np.asarray((hits * discounts[: hits.shape[1]]).sum(axis=1) / best)


def _mrr(hits: Hits, relevant: NDArray[np.int64], cutoff: int) -> Scores:
    return np.asarray(hits.any(axis=1) / (hits.argmax(axis=1) + 1))


def _map(hits: Hits, relevant: NDArray[np.int64], cutoff: int) -> Scores:
    precisions = np.cumsum(hits, axis=1) / (np.arange(hits.shape[1]) + 1)
    return np.asarray((precisions * hits).sum(axis=1) / np.minimum(relevant, cutoff))


_METRICS: Mapping[str, Callable[[Hits, NDArray[np.int64], int], Scores]] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "ndcg": _ndcg,
    "mrr": _mrr,
    "map": _map,
}
