"""Alarms of a training that diverges: when each is raised, and that it is raised once, also after a restart."""

import json

import pytest
import torch

from embedstep.worker.trainer.numerics import NumericsMonitor, is_collapsed


def test_an_exploding_norm_is_reported_once() -> None:
    alarms: list[tuple[str, int]] = []
    monitor = NumericsMonitor(lambda alarm, step: alarms.append((alarm, step)))

    class State:
        global_step = 0

    for norm in (1.0, 1.2, 0.9, 1.1, 1.0, 90.0, 101.0, 5000.0, float("inf")):
        State.global_step += 1
        monitor.on_log(None, State, None, {"grad_norm": norm})
    assert alarms == [("exploding_gradients", 8), ("not_finite", 9)]
    assert monitor.first_alarm(["collapse", "not_finite"]) == "not_finite"
    assert monitor.first_alarm([]) is None


def test_what_is_known_of_the_numbers_resumes() -> None:
    alarms: list[tuple[str, int]] = []
    before = NumericsMonitor(lambda alarm, step: alarms.append((alarm, step)))
    after = NumericsMonitor(lambda alarm, step: alarms.append((alarm, step)))

    class State:
        global_step = 1

    for norm in (1.0, 1.2, 0.9, 1.1, 1.0, float("inf"), 0.0, 0.0):
        before.on_log(None, State, None, {"grad_norm": norm})
    after.restore(json.loads(json.dumps(before.state)))
    State.global_step = 2
    for norm in (0.0, 5000.0, float("inf")):
        after.on_log(None, State, None, {"grad_norm": norm})
    assert alarms == [("not_finite", 1), ("zero_gradients", 2), ("exploding_gradients", 2)]
    assert after.alarms == {"not_finite": 1, "zero_gradients": 2, "exploding_gradients": 2}


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], True),
        ([[2.0, 0.0], [700.0, 0.1]], True),
        ([[1.0, 0.0], [0.0, 1.0]], False),
        ([[1.0, 0.0], [-1.0, 0.0]], False),
        ([[1.0, 0.0]], False),
        ([[0.0, 0.0], [0.0, 0.0]], True),
    ],
)
def test_one_point(rows: list[list[float]], found: bool) -> None:
    assert is_collapsed(torch.tensor(rows)) is found
