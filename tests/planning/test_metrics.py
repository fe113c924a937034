"""The metrics that a run will log."""

from typing import Any

import pytest

from embedstep.planning.metrics import planned_metrics
from tests.planning.plans import request

SPEED = ("runtime", "samples_per_second", "steps_per_second")


EMBEDDING = {"kind": "embedding_similarity", "name": "sts", "dataset": "held", "options": {"main_similarity": "dot"}}


TRANSLATION = {"kind": "translation", "name": "tr", "dataset": "held"}


@pytest.mark.parametrize(
    ("train", "evaluate", "evaluators", "metrics"),
    [
        (("docs",), (), [], ()),
        (("docs",), ("docs",), [], ("eval_loss", *(f"eval_{name}" for name in SPEED))),
        (
            ("docs", "more"),
            ("docs", "more"),
            [],
            tuple(f"eval_{name}_{metric}" for name in ("docs", "more") for metric in ("loss", *SPEED)),
        ),
        (
            ("docs",),
            ("held",),
            [EMBEDDING],
            (*(f"eval_{name}" for name in SPEED), "eval_sts_pearson_dot", "eval_sts_spearman_dot"),
        ),
        (
            ("docs",),
            ("held",),
            [EMBEDDING, TRANSLATION],
            (
                *(f"eval_{name}" for name in SPEED), "eval_sts_pearson_dot", "eval_sts_spearman_dot",
                "eval_tr_src2trg_accuracy", "eval_tr_trg2src_accuracy", "eval_tr_mean_accuracy",
                "eval_sequential_score",
            ),
        ),
    ],
    ids=["none", "loss", "two losses", "evaluator", "two evaluators"],
)  # fmt: skip
def test_metrics_are_named_beforehand(
    train: tuple[str, ...], evaluate: tuple[str, ...], evaluators: list[Any], metrics: tuple[str, ...]
) -> None:
    asked = request(*train, evaluate=evaluate, evaluators=evaluators)
    assert planned_metrics(asked, "cosine") == metrics


def test_the_model_s_similarity_names_the_metrics() -> None:
    asked = request(evaluate=("docs",), evaluators=[{"kind": "embedding_similarity", "name": "sts", "dataset": "docs"}])
    assert "eval_sts_spearman_manhattan" in planned_metrics(asked, "manhattan")
