import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.tracking.names import flatten, metric_name, shortened


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("loss", "loss"),
        ("eval_docs_cosine_ndcg@10", "eval_docs_cosine_ndcg_at_10"),
        ("eval_docs_cosine_accuracy@1", "eval_docs_cosine_accuracy_at_1"),
        ("eval_a-b_mrr@100", "eval_a-b_mrr_at_100"),
    ],
)
def test_a_metric_has_a_name_that_mlflow_takes(name: str, taken: str) -> None:
    assert metric_name(name) == taken


def test_what_mlflow_forbids_is_replaced() -> None:
    assert metric_name("a(b)*c,d") == "a_b__c_d"
    assert metric_name("a/b.c d:e-f") == "a/b.c d:e-f"


_part = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
_scores = st.sampled_from(["cosine", "dot", "euclidean", "manhattan"])
_metrics = st.sampled_from(["accuracy", "precision", "recall", "ndcg", "mrr", "map"])


@given(_part, _scores, _metrics, st.none() | st.integers(1, 10**6))
def test_mlflow_takes_the_name_of_every_evaluator_s_metric(
    name: str, score: str, metric: str, cutoff: int | None
) -> None:
    full = f"eval_{name}_{score}_{metric}" + (f"@{cutoff}" if cutoff else "")
    assert re.fullmatch(r"[\w\-. :/]+", metric_name(full))


@pytest.mark.parametrize("length", [0, 1, 5999, 6000])
def test_a_value_within_the_limit_is_whole(length: int) -> None:
    assert shortened("x" * length) == "x" * length


def test_a_longer_value_is_cut_and_says_so() -> None:
    assert shortened("x" * 7000) == "x" * 5981 + "… (7000 characters)"


@given(st.integers(6001, 20_000))
def test_a_cut_value_has_the_length_of_the_limit(length: int) -> None:
    cut = shortened("ab" * length)
    assert len(cut) == 6000
    assert cut.endswith(f"… ({2 * length} characters)")


@pytest.mark.parametrize(
    ("sections", "parameters"),
    [
        ({}, {"": {}}),
        ({"a": 1}, {"a": 1}),
        ({"a": {"b": {"c": "x"}}}, {"a.b.c": "x"}),
        ({"a": None, "b": True, "c": 0.5}, {"a": None, "b": True, "c": 0.5}),
        ({"a": {}, "b": []}, {"a": {}, "b": []}),
        ({"a": ["x", 1, None]}, {"a": ["x", 1, None]}),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a.0.b": 1, "a.1.b": 2}),
        ({"a": [["x"], "y"]}, {"a.0": ["x"], "a.1": "y"}),
        ({"loss": {"*": {"kind": "cosent"}}}, {"loss.kind": "cosent"}),
        ({"loss": {"docs": {"kind": "cosent"}}}, {"loss.docs.kind": "cosent"}),
    ],
)
def test_sections_become_parameters(sections: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert flatten(sections) == parameters


_keys = st.text("abc", min_size=1, max_size=3)
_sections = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(_keys, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(_keys, _sections, min_size=1, max_size=3))
def test_nothing_is_lost_in_flattening(sections: dict[str, Any]) -> None:
    for path, value in flatten(sections).items():
        here: Any = sections
        for key in path.split("."):
            here = here[key]
        assert here == value
