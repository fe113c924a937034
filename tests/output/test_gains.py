"""Tests of gains and their intervals; `promotion/test_comparison.py` has those of decisions by them."""

import numpy as np

from embedstep.output.gains import bootstrap_gain


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Of 200 samples with a true gain of 0.02, a 90 % interval holds it in about 180."""
    random = np.random.RandomState(0)
    held = 0
    for _ in range(200):
        champion = random.rand(80)
        found = bootstrap_gain(champion + random.normal(0.02, 0.1, 80), champion, 0.9)
        held += found.low <= 0.02 <= found.high
    assert 165 <= held <= 195


def test_the_same_scores_give_the_same_interval() -> None:
    challenger, champion = np.array([0.5, 1.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.0, 0.0])
    found = bootstrap_gain(challenger, champion, 0.95)
    assert (found.queries, found.champion, found.challenger, found.gain) == (4, 0.25, 0.625, 0.375)
    assert found == bootstrap_gain(challenger, champion, 0.95)
    assert 0 <= found.low < 0.375 < found.high <= 1
