from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedstep.output.gains import bootstrap_gain
from embedstep.promotion.comparison import Verdict, decide
from embedstep.request.schema import Promotion


def verdict(
    challenger: Sequence[float], champion: Sequence[float], slices: Sequence[str] | None = None, **conditions: Any
) -> Verdict:
    asked = Promotion(**conditions)
    return decide("docs_cosine_ndcg@10", asked, np.array(challenger, float), np.array(champion, float), slices)


def test_a_clear_gain_is_promoted() -> None:
    found = verdict([0.6] * 50 + [0.4] * 50, [0.3] * 50 + [0.4] * 50)
    assert found.action == "promote"
    assert found.reasons == (
        "docs_cosine_ndcg@10 0.5000 against 0.3500: +0.1500, 95% confidence interval +0.1200 to +0.1800",
    )


def test_the_same_model_twice_keeps_the_champion() -> None:
    scores = [0.1, 0.5, 0.9] * 20
    found = verdict(scores, scores)
    assert found.action == "hold"
    assert found.reasons == (
        "docs_cosine_ndcg@10 0.5000 against 0.5000: +0.0000, 95% confidence interval +0.0000 to +0.0000; "
        "not significant",
    )


def test_a_gain_that_may_be_chance_is_held() -> None:
    assert verdict([1, 0, 1, 0, 1], [0, 1, 0, 1, 0]).action == "hold"


def test_a_gain_below_what_is_asked_for_is_held() -> None:
    found = verdict([0.51] * 100, [0.5] * 100, minimum_gain=0.02)
    assert found.action == "hold"
    assert found.reasons[0].endswith("; below the minimum gain of 0.02")


def test_a_worse_model_is_rejected() -> None:
    found = verdict([0.3] * 100, [0.5] * 100)
    assert found.action == "reject"
    assert found.reasons[0].endswith("; the challenger is worse")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_rejected_before_anything_is_compared(value: float) -> None:
    """A NaN that is kept as 0 would win a gate in which less is better."""
    found = verdict([value] + [0.9] * 99, [0.5] * 100)
    assert (found.action, found.gain) == ("reject", None)
    assert found.reasons == ("docs_cosine_ndcg@10 of the challenger is not finite for 1 of 100 queries",)


def test_a_slice_below_the_floor_is_rejected_though_the_average_is_up() -> None:
    slices = ["en"] * 80 + ["de"] * 20
    found = verdict([0.8] * 80 + [0.3] * 20, [0.5] * 100, slices, max_slice_loss=0.05)
    assert found.action == "reject"
    assert found.reasons == (
        "slice de: docs_cosine_ndcg@10 0.3000 against 0.5000 on 20 queries, -0.2000; "
        "more than the allowed loss of 0.05",
        "docs_cosine_ndcg@10 0.7000 against 0.5000: +0.2000, 95% confidence interval +0.1600 to +0.2400",
    )
    assert {name: round(gain.gain, 6) for name, gain in found.slices.items()} == {"de": -0.2, "en": 0.3}
    assert verdict([0.8] * 80 + [0.3] * 20, [0.5] * 100, slices, max_slice_loss=0.3).action == "promote"


def test_a_slice_of_few_queries_decides_nothing() -> None:
    slices = ["en"] * 95 + ["de"] * 5
    found = verdict([0.8] * 95 + [0.3] * 5, [0.5] * 100, slices, max_slice_loss=0.05)
    assert found.action == "promote"
    assert set(found.slices) == {"en"}


@pytest.mark.parametrize(("one", "other"), [([0.5] * 3, [0.5] * 4), ([], []), ([0.5], [0.4])])
def test_other_queries_cannot_be_compared(one: list[float], other: list[float]) -> None:
    with pytest.raises(ValueError, match=f"scores of {len(one)} and of {len(other)} queries cannot be compared"):
        verdict(one, other)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=60),
    st.sampled_from([0.8, 0.95]),
)
@settings(max_examples=30, deadline=None)
def test_changing_sides_changes_signs(pairs: list[tuple[float, float]], confidence: float) -> None:
    asked = Promotion(confidence=confidence)
    one, other = np.array(pairs).T
    forth, back = bootstrap_gain(one, other, confidence), bootstrap_gain(other, one, confidence)
    assert forth.low <= forth.gain + 1e-9
    assert forth.gain - 1e-9 <= forth.high
    np.testing.assert_allclose([forth.low, forth.high], [-back.high, -back.low], atol=1e-9)
    words = {decide("m", asked, one, other).action, decide("m", asked, other, one).action}
    assert words in ({"hold"}, {"promote", "reject"})
