"""Scores of each query, whose mean is the library's metric."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

CUTOFFS = {
    "accuracy_at_k": [1, 3], "precision_recall_at_k": [1, 3], "ndcg_at_k": [3, 10], "mrr_at_k": [3, 10],
    "map_at_k": [3, 10],
}  # fmt: skip

Build = Callable[..., Any]


@pytest.fixture(scope="module")
def evaluator_of() -> Build:
    from sentence_transformers.util import SimilarityFunction

    from embedstep.worker.trainer.ranking import RankingEvaluator

    def build(ranked: list[list[int]], relevant: list[set[int]]) -> Any:
        evaluator = RankingEvaluator(
            queries={str(number): "q" for number in range(len(ranked))},
            corpus={str(number): "d" for number in range(14)},
            relevant_docs={str(number): set(map(str, some)) for number, some in enumerate(relevant)},
            score_functions={"cosine": SimilarityFunction.to_similarity_fn("cosine")}, name="docs", **CUTOFFS,
        )  # fmt: skip
        return evaluator

    return build


def rankings(ranked: list[list[int]]) -> list[list[dict[str, Any]]]:
    return [[{"corpus_id": str(one), "score": -rank} for rank, one in enumerate(some)] for some in ranked]


def test_by_hand(evaluator_of: Build) -> None:
    """Two of three relevant documents at ranks 2 and 3; then nothing that is relevant."""
    ranked = [[9, 0, 1, 8], [5, 6, 7, 8]]
    evaluator = evaluator_of(ranked, [{0, 1, 2}, {3}])
    evaluator.compute_metrics(rankings(ranked))
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert {name: scores.round(6).tolist() for name, scores in evaluator.scores().items() if name.endswith("@3")} == {
        "docs_cosine_accuracy@3": [1.0, 0.0],
        "docs_cosine_precision@3": [round(2 / 3, 6), 0.0],
        "docs_cosine_recall@3": [round(2 / 3, 6), 0.0],
        "docs_cosine_ndcg@3": [round((1 / np.log2(3) + 1 / 2) / ideal, 6), 0.0],
        "docs_cosine_mrr@3": [0.5, 0.0],
        "docs_cosine_map@3": [round((1 / 2 + 2 / 3) / 3, 6), 0.0],
    }


@st.composite
def found_lists(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]]]:
    """Ranked documents of each query, and those that are relevant."""
    documents = draw(st.integers(1, 14))
    ranked, relevant = [], []
    for _ in range(draw(st.integers(1, 6))):
        ranked.append(draw(st.permutations(range(documents)))[:10])
        relevant.append(draw(st.sets(st.integers(0, documents - 1), min_size=1)))
    return ranked, relevant


@given(found_lists())
def test_the_mean_is_the_metric_of_the_library(
    evaluator_of: Build, given: tuple[list[list[int]], list[set[int]]]
) -> None:
    ranked, relevant = given
    evaluator = evaluator_of(ranked, relevant)
    theirs = evaluator.compute_metrics(rankings(ranked))
    for name, scores in evaluator.scores().items():
        metric, _, cutoff = name.removeprefix("docs_cosine_").partition("@")
        assert scores.shape == (len(ranked),)
        assert scores.mean() == pytest.approx(theirs[f"{metric}@k"][int(cutoff)], abs=1e-9), name
