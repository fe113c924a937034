"""A decision reads back as it was written."""

import json
import math
from typing import Any

import pytest

from embedstep.data.recorded_anchors import SeenAnchors
from embedstep.output.gains import Gain
from embedstep.promotion.decision import Decision, decision_from_json

GAIN = Gain(queries=40, champion=0.5, challenger=0.75, low=0.125, high=0.375, gain=0.25)


def decision(**more: Any) -> Decision:
    values: dict[str, Any] = {
        "action": "promote", "reasons": ("better",), "gain": GAIN, "slices": {"short": GAIN},
        "metric": "docs_cosine_ndcg@10", "challenger": {"model": "a"}, "champion": {"model": "b", "is_base": True},
        "metrics": {"challenger": {"ndcg": 0.75}, "champion": {"ndcg": 0.5}}, "data": {"docs": "c" * 64},
        "dimensions": {"128": GAIN}, "gains": {"mrr": GAIN},
        "seen": {"champion": {"docs": SeenAnchors(anchors=200, seen=37)}},
    }  # fmt: skip
    return Decision(**{**values, **more})


@pytest.mark.parametrize(
    "more",
    [{}, {"action": "hold", "reasons": ("nothing to compare",), "gain": None, "slices": {}}],
    ids=["gain", "no gain"],
)
def test_a_decision_reads_back_equal(more: dict[str, Any]) -> None:
    written = json.loads(json.dumps(decision(**more).to_json()))
    assert decision_from_json(written).to_json() == decision(**more).to_json()
    assert decision_from_json(written).action == decision(**more).action


def test_a_decision_from_before_anchors_were_recorded_is_read() -> None:
    written = decision().to_json()
    del written["seen"]
    assert decision_from_json(json.loads(json.dumps(written))) == decision(seen={})


def test_json_has_null_for_a_score_that_is_not_finite() -> None:
    written = decision(metrics={"challenger": {"ndcg": math.nan}, "champion": {"ndcg": 0.5}}).to_json()
    assert written["metrics"] == {"challenger": {"ndcg": None}, "champion": {"ndcg": 0.5}}
