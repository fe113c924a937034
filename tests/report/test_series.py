"""Reading what a run has logged."""

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedstep.report.series import group_by_cutoff, read_series, thin

FINITE = st.floats(-1e6, 1e6)


@given(st.lists(FINITE, min_size=1, max_size=400), st.sampled_from([2, 10, 50]))
def test_thinning_keeps_the_extremes_in_order(values: list[float], most: int) -> None:
    steps, kept = thin(np.arange(len(values), dtype=float), np.array(values), most)
    assert len(kept) <= max(most, 1)
    assert (np.diff(steps) > 0).all()
    assert (kept.min(), kept.max()) == (min(values), max(values))
    assert [values[int(step)] for step in steps] == kept.tolist()


def test_few_points_stay_as_they_are() -> None:
    steps, kept = thin(np.array([1.0, 2.0]), np.array([5.0, 4.0]))
    assert (steps.tolist(), kept.tolist()) == ([1.0, 2.0], [5.0, 4.0])


def test_values_that_are_not_finite_are_counted_and_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = [{"train_step": n, "loss": value} for n, value in enumerate([1.0, "nan", "inf", 0.5])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"train_step": 4, "lo')
    (loss,) = read_series(file).values()
    assert (loss.steps.tolist(), loss.values.tolist(), loss.not_finite, loss.last) == ([0, 3], [1.0, 0.5], 2, 0.5)


def test_a_run_that_has_logged_nothing_has_no_series(tmp_path: Path) -> None:
    assert read_series(tmp_path / "metrics.jsonl") == {}


def test_cutoffs_of_a_metric_belong_together() -> None:
    names = dict.fromkeys(["a_ndcg@10", "a_acc@1", "a_acc@10", "spearman", "weird@x"])
    assert group_by_cutoff(names) == {  # type: ignore[arg-type]
        "a_ndcg": ["a_ndcg@10"], "a_acc": ["a_acc@1", "a_acc@10"], "spearman": ["spearman"], "weird@x": ["weird@x"],
    }  # fmt: skip
