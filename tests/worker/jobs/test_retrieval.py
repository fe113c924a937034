from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.worker.jobs.retrieval import scores_of

CUTOFFS = {"accuracy": [1, 3], "precision": [1, 3], "recall": [1, 3], "ndcg": [3, 10], "mrr": [10], "map": [10]}


def test_by_hand() -> None:
    """Two of three relevant documents at ranks 2 and 3; then nothing found."""
    hits = np.array([[False, True, True, False], [False] * 4])
    found = scores_of(hits, np.array([3, 1]), {name: [3] for name in CUTOFFS})
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert {name: scores.round(6).tolist() for name, scores in found.items()} == {
        "accuracy@3": [1.0, 0.0],
        "precision@3": [round(2 / 3, 6), 0.0],
        "recall@3": [round(2 / 3, 6), 0.0],
        "ndcg@3": [round((1 / np.log2(3) + 1 / 2) / ideal, 6), 0.0],
        "mrr@3": [0.5, 0.0],
        "map@3": [round((1 / 2 + 2 / 3) / 3, 6), 0.0],
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


@pytest.fixture(scope="module")
def library() -> Any:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    return InformationRetrievalEvaluator


@given(found_lists())
def test_the_mean_is_what_the_library_tells(library: Any, given: tuple[list[list[int]], list[set[int]]]) -> None:
    ranked, relevant = given
    evaluator = library(
        queries={str(number): "q" for number in range(len(ranked))},
        corpus={str(number): "d" for number in range(14)},
        relevant_docs={str(number): set(map(str, some)) for number, some in enumerate(relevant)},
        accuracy_at_k=CUTOFFS["accuracy"], precision_recall_at_k=CUTOFFS["precision"], ndcg_at_k=CUTOFFS["ndcg"],
        mrr_at_k=CUTOFFS["mrr"], map_at_k=CUTOFFS["map"],
    )  # fmt: skip
    results = [[{"corpus_id": str(one), "score": -rank} for rank, one in enumerate(some)] for some in ranked]
    theirs = evaluator.compute_metrics(results)
    hits = np.zeros((len(ranked), max(map(len, ranked))), bool)
    for row, (some, right) in enumerate(zip(ranked, relevant, strict=True)):
        hits[row, : len(some)] = [one in right for one in some]
    ours = scores_of(hits, np.array([len(some) for some in relevant]), CUTOFFS)
    for name, scores in ours.items():
        metric, _, cutoff = name.partition("@")
        assert scores.mean() == pytest.approx(theirs[f"{metric}@k"][int(cutoff)], abs=1e-9), name
