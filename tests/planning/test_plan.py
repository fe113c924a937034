"""A plan as a file."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.planning.build import build_plan
from embedstep.planning.plan import plan_from_json, with_current_names
from tests.planning.plans import facts, planned, request


@given(
    st.integers(0, 10**6),
    st.integers(1, 64),
    st.sampled_from(["no", "steps", "epoch"]),
    st.lists(st.text(max_size=8), max_size=3),
    st.none() | st.text(max_size=20),
)
def test_a_plan_reads_back_equal(
    rows: int, processes: int, strategy: str, dropped: list[str], path: str | None
) -> None:
    asked = request(
        evaluate=("docs",),
        arguments={
            "eval_strategy": strategy,
            "eval_on_start": True,
            "save_steps": 0.25,
            "max_steps": 40,
            "prompts": {"anchor": "query: "},
            "lr_scheduler_kwargs": {"num_cycles": 2},
        },
        evaluators=[{"kind": "information_retrieval", "name": "docs", "dataset": "docs"}],
    )
    items = [facts(rows, dropped_columns=tuple(dropped), path=path, fingerprint="ab"), facts(rows, split="eval")]
    plan = build_plan(asked, items, gpus=0, processes=processes)
    again = plan_from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.to_json() == plan.to_json()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"format": "embedstep.plan/2"}, "this plan has the format 'embedstep.plan/2', not 'embedstep.plan/1'"),
        ({"format": None}, "this plan has the format None, not 'embedstep.plan/1'"),
    ],
)
def test_a_plan_of_another_version_is_refused(found: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="format") as caught:
        plan_from_json({**planned(10).to_json(), **found})
    assert str(caught.value) == message


def test_a_plan_of_0_1_0_is_read_under_the_current_names() -> None:
    written = json.loads(json.dumps(planned(10).to_json()))
    former = [
        {"rows_unseen" if key == "rows_unreached" else key: value for key, value in item.items()}
        for item in written["datasets"]
    ]
    assert with_current_names({**written, "datasets": former}) == written
