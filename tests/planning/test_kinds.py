"""Losses and evaluators that are for models of another family."""

import pytest

from tests.planning.test_checks import BOTH, RETRIEVAL, alone

FAMILY = "and embedstep trains SentenceTransformer models, which give one dense vector for a text"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("BinaryCrossEntropyLoss", "CrossEncoder"), ("binary_cross_entropy", "CrossEncoder"),
        ("SpladeLoss", "SparseEncoder"), ("SparseMultipleNegativesRankingLoss", "SparseEncoder"),
        ("LambdaLoss", "CrossEncoder"), ("MultiVectorMarginMSELoss", "MultiVectorEncoder"),
    ],
)  # fmt: skip
def test_a_loss_of_another_family_is_named_with_it(name: str, family: str) -> None:
    assert alone(loss=name) == [f"loss.kind: {name} is for {family}, {FAMILY}"]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("CrossEncoderRerankingEvaluator", "CrossEncoder"), ("CEF1Evaluator", "CrossEncoder"),
        ("SparseNanoBEIREvaluator", "SparseEncoder"),
    ],
)  # fmt: skip
def test_an_evaluator_of_another_family_is_named_with_it(name: str, family: str) -> None:
    found = alone(data=BOTH, evaluators=[{**RETRIEVAL, "kind": name}])
    assert found == [f"evaluators.0.kind: {name} is for {family}, {FAMILY}"]
