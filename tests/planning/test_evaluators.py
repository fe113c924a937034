from typing import Any

import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.planning.evaluators import (
    EVALUATORS,
    check_evaluator,
    check_evaluator_data,
    evaluator_kind,
    metric_names,
)
from embedstep.request.options import all_values
from embedstep.request.schema import Evaluator

PAIR = {"anchor": "text", "positive": "text"}
TRIPLET = {**PAIR, "negative": "text"}


def evaluator_of(kind: str, name: str = "docs", **options: Any) -> Evaluator:
    return Evaluator.model_validate({"kind": kind, "name": name, "dataset": "held_out", "options": options})


def facts_of(columns: dict[str, Any], label_range: tuple[float, float] | None = None) -> DatasetFacts:
    return DatasetFacts(split="eval", name="held_out", rows=9, columns=columns, label_range=label_range)


def _problems(evaluator: Evaluator, facts: DatasetFacts) -> list[str]:
    found = [*check_evaluator(evaluator, "evaluators.0"), *check_evaluator_data(evaluator, facts)]
    return [str(problem) for problem in found]


def primary_metric(evaluator: Evaluator) -> str:
    kind = evaluator_kind(evaluator.kind)
    return kind.primary(all_values(kind.options, evaluator.options), "cosine")


@pytest.mark.parametrize(
    ("evaluator", "columns", "label_range"),
    [
        (evaluator_of("information_retrieval"), PAIR, None),
        (evaluator_of("InformationRetrievalEvaluator"), {**TRIPLET, "label": "number"}, (0.0, 1.0)),
        (evaluator_of("information_retrieval", ndcg_at_k=[1, "10"]), {"anchor": "text", "positive": "texts"}, None),
        (evaluator_of("embedding_similarity"), {**PAIR, "label": "number"}, (0.0, 5.0)),
        (evaluator_of("binary_classification"), {**PAIR, "label": "integer"}, (0, 1)),
        (evaluator_of("triplet", margin=0.1), TRIPLET, None),
        (evaluator_of("paraphrase_mining"), {**TRIPLET, "negative": "texts"}, None),
        (evaluator_of("reranking"), {"anchor": "text", "positive": "texts", "negative": "texts"}, None),
        (evaluator_of("reranking"), {**PAIR, "negative_1": "text", "negative_2": "text"}, None),
        (evaluator_of("translation"), PAIR, None),
        (evaluator_of("mse"), {"anchor": "text", "label": "numbers"}, None),
        (evaluator_of("MSEEvaluator"), {**PAIR, "label": "numbers"}, None),
        (evaluator_of("label_accuracy"), {**PAIR, "label": "integer"}, (0, 2)),
    ],
)
def test_an_evaluator_that_fits_its_data_has_no_problems(
    evaluator: Evaluator, columns: dict[str, Any], label_range: tuple[float, float] | None
) -> None:
    assert _problems(evaluator, facts_of(columns, label_range)) == []


@pytest.mark.parametrize(
    ("evaluator", "columns", "label_range", "messages"),
    [
        (
            evaluator_of("information_retreival"),
            PAIR,
            None,
            ["evaluators.0.kind: no evaluator is named 'information_retreival'; did you mean information_retrieval?"],
        ),
        (
            evaluator_of("information_retrieval", ndcg_at_k=10),
            PAIR,
            None,
            ["evaluators.0.options.ndcg_at_k: must be a list of integers of 1 or more, not 10"],
        ),
        (
            evaluator_of("information_retrieval", score_functions=["dot"], main_score_function="cosine"),
            PAIR,
            None,
            ["evaluators.0.options: main_score_function cosine is not among score_functions (dot); add it there"],
        ),
        (
            evaluator_of("information_retrieval", query_prompt="q: ", query_prompt_name="query"),
            PAIR,
            None,
            ["evaluators.0.options: query_prompt and query_prompt_name are both given; keep one"],
        ),
        (
            evaluator_of("information_retrieval"),
            {"anchor": "text"},
            None,
            [
                "data.eval.held_out.columns.positive: is missing: the evaluator information_retrieval needs "
                "anchor, positive"
            ],
        ),
        (
            evaluator_of("embedding_similarity", similarity_fn_names=["cosine", "cosine"]),
            {**PAIR, "label": "number"},
            (0.0, 1.0),
            [
                "evaluators.0.options.similarity_fn_names: must be a list, each once, of cosine, dot, euclidean, "
                "manhattan, or null, not ['cosine', 'cosine']"
            ],
        ),
        (
            evaluator_of("embedding_similarity"),
            PAIR,
            None,
            [
                "data.eval.held_out.columns.label: is missing: the evaluator embedding_similarity needs a label with a "
                "number in each row, not always the same"
            ],
        ),
        (
            evaluator_of("embedding_similarity"),
            {**PAIR, "label": "number"},
            (1.0, 1.0),
            [
                "data.eval.held_out.columns.label: goes from 1 to 1; the evaluator embedding_similarity needs a label "
                "with a number in each row, not always the same"
            ],
        ),
        (
            evaluator_of("binary_classification"),
            {**PAIR, "label": "integer"},
            (0, 2),
            [
                "data.eval.held_out.columns.label: goes from 0 to 2; the evaluator binary_classification "
                "needs a label with 0 or 1 in each row, and both of them"
            ],
        ),
        (
            evaluator_of("binary_classification"),
            {**PAIR, "label": "numbers"},
            None,
            [
                "data.eval.held_out.columns.label: holds numbers; the evaluator binary_classification needs "
                "a label with "
                "0 or 1 in each row, and both of them"
            ],
        ),
        (
            evaluator_of("triplet"),
            {**PAIR, "negative_1": "text", "negative_2": "text"},
            None,
            ["data.eval.held_out.columns.negative: names 2 columns; the evaluator triplet takes one"],
        ),
        (
            evaluator_of("triplet"),
            {**PAIR, "negative": "texts"},
            None,
            ["data.eval.held_out.columns.negative: holds lists; the evaluator triplet needs one text in each row"],
        ),
        (
            evaluator_of("reranking", mrr_at_k=3),
            PAIR,
            None,
            [
                "evaluators.0.options.mrr_at_k: is not an option of reranking; it has at_k, "
                "similarity_fct, batch_size, use_batched_encoding, truncate_dim; did you mean at_k?",
                "data.eval.held_out.columns.negative: is missing: the evaluator reranking needs anchor, "
                "positive, negative",
            ],
        ),
        (
            evaluator_of("translation", name="mean"),
            PAIR,
            None,
            ["evaluators.0.name: 'mean' is the start of the metric mean_accuracy; choose another name"],
        ),
    ],
)
def test_a_problem_says_where_what_and_what_would_be_right(
    evaluator: Evaluator, columns: dict[str, Any], label_range: tuple[float, float] | None, messages: list[str]
) -> None:
    assert _problems(evaluator, facts_of(columns, label_range)) == messages


@pytest.mark.parametrize(
    ("evaluator", "names", "primary"),
    [
        (
            evaluator_of(
                "information_retrieval", accuracy_at_k=[1], precision_recall_at_k=[3], ndcg_at_k=[5, 10], map_at_k=[7]
            ),
            (
                "eval_docs_cosine_accuracy@1",
                "eval_docs_cosine_precision@3",
                "eval_docs_cosine_recall@3",
                "eval_docs_cosine_ndcg@5",
                "eval_docs_cosine_ndcg@10",
                "eval_docs_cosine_mrr@10",
                "eval_docs_cosine_map@7",
            ),
            "cosine_ndcg@10",
        ),
        (
            evaluator_of("embedding_similarity", truncate_dim=8),
            ("eval_docs_pearson_cosine", "eval_docs_spearman_cosine"),
            "spearman_cosine",
        ),
        (
            evaluator_of("embedding_similarity", similarity_fn_names=["dot", "cosine"]),
            (
                "eval_docs_pearson_dot",
                "eval_docs_spearman_dot",
                "eval_docs_pearson_cosine",
                "eval_docs_spearman_cosine",
                "eval_docs_pearson_max",
                "eval_docs_spearman_max",
            ),
            "spearman_max",
        ),
        (
            evaluator_of("triplet", main_similarity_function="manhattan"),
            ("eval_docs_manhattan_accuracy",),
            "manhattan_accuracy",
        ),
        (
            evaluator_of("reranking", at_k=5),
            ("eval_docs_map", "eval_docs_mrr@5", "eval_docs_ndcg@5"),
            "ndcg@5",
        ),
        (
            evaluator_of("translation", name="eval_de"),
            ("eval_de_src2trg_accuracy", "eval_de_trg2src_accuracy", "eval_de_mean_accuracy"),
            "mean_accuracy",
        ),
    ],
)
def test_metrics_have_the_names_of_the_trainer(evaluator: Evaluator, names: tuple[str, ...], primary: str) -> None:
    assert metric_names(evaluator) == names
    assert primary_metric(evaluator) == primary


def test_the_models_own_similarity_names_the_metrics() -> None:
    assert metric_names(evaluator_of("triplet"), similarity="dot") == ("eval_docs_dot_accuracy",)


def test_a_class_name_is_a_name() -> None:
    assert evaluator_kind("RerankingEvaluator") is EVALUATORS["reranking"]
