"""Where a request may name a corpus."""

import json
from typing import Any

import pytest

from embedstep.planning.corpora import corpora_are_searched
from embedstep.request.loading import load_request

ROWS = {"path": "a.csv", "columns": {"anchor": "q", "positive": "a"}}
JOINED = {"beir": "scifact", "split": "test"}


@pytest.mark.parametrize(
    ("train", "held_out", "evaluator", "expected"),
    [
        ({}, {}, "reranking", []),
        ({}, {"corpus": "b.csv"}, "information_retrieval", []),
        ({}, {"corpus": {"path": ["b.csv", "c.csv"], "column": "text"}}, "InformationRetrievalEvaluator", []),
        ({}, {"corpus": "b.csv"}, "reranking", [
            ("data.eval.docs.corpus", "is searched by no evaluator; add {kind: information_retrieval, name: docs, "
             "dataset: docs} to evaluators, or remove it"),
        ]),
        ({"corpus": "b.csv"}, {}, "information_retrieval",
         [("data.train.docs.corpus", "is for data.eval, whose evaluators search it; remove it")]),
        ({}, {"path": None, **JOINED, "corpus": "b.csv"}, "information_retrieval",
         [("data.eval.docs.corpus", "cannot be given with beir, whose own corpus is searched; remove it")]),
    ],
)  # fmt: skip
def test_a_corpus_is_searched(
    train: dict[str, Any], held_out: dict[str, Any], evaluator: str, expected: list[tuple[str, str]]
) -> None:
    document = {
        "model": "./model", "loss": "cosent",
        "data": {"train": {"docs": {**ROWS, **train}}, "eval": {"docs": {**ROWS, **held_out}}},
        "evaluators": [{"kind": evaluator, "name": "docs", "dataset": "docs"}],
    }  # fmt: skip
    assert list(corpora_are_searched(load_request(json.dumps(document)))) == expected
