"""The train steps of a run, and after which of them it evaluates and saves."""

from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.planning.steps import (
    checkpoint_steps,
    count_train_steps,
    count_warmup_steps,
    evaluation_steps,
    interval_in_steps,
    never_best,
)
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.types import Interval, SaveInterval


def arguments_of(**given: Any) -> Arguments:
    return Arguments.model_validate(given)


@pytest.mark.parametrize(
    ("given", "steps_per_epoch", "steps"),
    [
        ({}, 17, 51),
        ({"num_train_epochs": 1}, 17, 17),
        ({"num_train_epochs": 1.5}, 5, 8),
        ({"num_train_epochs": 0.1}, 5, 1),
        ({"max_steps": 4}, 17, 4),
        ({"max_steps": 40, "num_train_epochs": 1}, 17, 40),
        ({"max_steps": -1, "num_train_epochs": 2}, 17, 34),
        ({"max_steps": 4}, 0, 0),
        ({"num_train_epochs": 5}, 0, 0),
    ],
)
def test_train_steps(given: dict[str, Any], steps_per_epoch: int, steps: int) -> None:
    assert count_train_steps(arguments_of(**given), steps_per_epoch) == steps


@pytest.mark.parametrize(
    ("given", "train_steps", "steps"),
    [
        ({}, 100, 0),
        ({"warmup_steps": 10}, 100, 10),
        ({"warmup_steps": 1}, 100, 1),
        ({"warmup_steps": 10.0}, 100, 10),
        ({"warmup_steps": 0.1}, 100, 10),
        ({"warmup_steps": 0.101}, 100, 11),
        ({"warmup_ratio": 0.1}, 100, 10),
        ({"warmup_ratio": 0.1}, 51, 6),
        ({"warmup_ratio": 0.0}, 51, 0),
        ({"warmup_steps": 500}, 100, 500),
    ],
)
def test_warmup_steps(given: dict[str, Any], train_steps: int, steps: int) -> None:
    assert count_warmup_steps(arguments_of(**given), train_steps) == steps


@pytest.mark.parametrize(
    ("amount", "train_steps", "steps"),
    [
        # 100 * 0.07, 0.14, 0.28, 0.55 and 0.56 are a little more than 7, 14, 28, 55 and 56 to a computer, and the
        # installed trainer rounds them up as well.
        (0.07, 100, 8),
        (0.14, 100, 15),
        (0.28, 100, 29),
        (0.55, 100, 56),
        (0.56, 100, 57),
        (0.25, 100, 25),
        (0.1, 51, 6),
        (0.001, 10, 1),
        (0, 100, 0),
        (1, 100, 1),
        (1.0, 100, 1),
        (25, 100, 25),
        (250, 100, 250),
    ],
)
def test_an_interval_is_steps_or_a_share(amount: float, train_steps: int, steps: int) -> None:
    assert interval_in_steps(amount, train_steps) == steps


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(1, 10**6))
def test_a_share_is_at_least_one_step_and_at_most_all(share: float, train_steps: int) -> None:
    assert 1 <= interval_in_steps(share, train_steps) <= train_steps


@pytest.mark.parametrize(
    ("given", "train_steps", "steps_per_epoch", "steps"),
    [
        ({"eval_strategy": "no"}, 10, 5, ()),
        ({"eval_strategy": "no", "eval_on_start": True}, 10, 5, (0,)),
        ({"eval_strategy": "epoch"}, 10, 5, (5, 10)),
        ({"eval_strategy": "epoch"}, 8, 5, (5, 8)),
        ({"eval_strategy": "epoch"}, 3, 5, (3,)),
        ({"eval_strategy": "epoch", "eval_on_start": True}, 10, 5, (0, 5, 10)),
        ({"eval_strategy": "epoch", "eval_delay": 2}, 15, 5, (10, 15)),
        ({"eval_strategy": "epoch", "eval_delay": 1.5}, 8, 5, (8,)),
        ({"eval_strategy": "steps", "eval_steps": 3}, 7, 5, (3, 6, 7)),
        ({"eval_strategy": "steps", "eval_steps": 3}, 6, 5, (3, 6)),
        ({"eval_strategy": "steps", "eval_steps": 9}, 7, 5, (7,)),
        ({"eval_strategy": "steps", "eval_steps": 0.3}, 10, 5, (3, 6, 9, 10)),
        ({"eval_strategy": "steps", "logging_steps": 4}, 10, 5, (4, 8, 10)),
        ({"eval_strategy": "steps"}, 1200, 5, (500, 1000, 1200)),
        ({"eval_strategy": "steps", "eval_steps": 3, "eval_delay": 4}, 10, 5, (6, 9, 10)),
        ({"eval_strategy": "steps", "eval_steps": 0.3, "eval_delay": 4, "eval_on_start": True}, 10, 5, (0, 6, 9, 10)),
        ({"eval_strategy": "steps", "eval_steps": 0.1}, 1003, 5, (*range(101, 1003, 101), 1003)),  # case 2.15
        ({"eval_strategy": "steps", "eval_steps": 3}, 0, 0, ()),
        ({"eval_strategy": "epoch"}, 0, 0, ()),
    ],
)
def test_evaluations(given: dict[str, Any], train_steps: int, steps_per_epoch: int, steps: tuple[int, ...]) -> None:
    assert evaluation_steps(arguments_of(**given), train_steps, steps_per_epoch) == steps


@pytest.mark.parametrize(
    ("checkpoints", "message"),
    [
        ((5, 10), []),
        ((4, 8), ["the best model is chosen among the checkpoints, of which the last is after train step 8 of 10"]),
        ((), ["the best model is chosen among the checkpoints, of which the last is after train step 0 of 10"]),
    ],
)
def test_steps_that_cannot_be_the_best_are_reported(checkpoints: tuple[int, ...], message: list[str]) -> None:
    """The steps after the last evaluation, which transformers 4.37 neither evaluated nor saved."""
    best = arguments_of(load_best_model_at_end=True, save_steps=4, eval_strategy="steps", eval_steps=4)
    assert list(never_best(best, 10, checkpoints, checkpoints)) == message
    assert not list(never_best(arguments_of(), 10, checkpoints, checkpoints))


MEET = "; write equal eval_steps and save_steps, or save_strategy: best"


@pytest.mark.parametrize(
    ("evaluations", "checkpoints", "message"),
    [
        (range(3, 101, 3), range(33, 101, 33),
         "30 of 33 evaluations have no checkpoint, so that only train steps 33, 66, 99 can be the best model"),
        (range(1, 101), range(10, 101, 10), "90 of 100 evaluations have no checkpoint, so that only train steps 10, "
         "20, 30, 40, … 100 can be the best model"),
        ((6, 12), (5, 10), "2 of 2 evaluations have no checkpoint, so that no model can be the best"),
        ((10, 20), (10, 20, 30), ""),
    ],
)  # fmt: skip
def test_evaluations_without_a_checkpoint_are_counted(
    evaluations: Sequence[int], checkpoints: Sequence[int], message: str
) -> None:
    best = arguments_of(load_best_model_at_end=True)
    found = list(never_best(best, checkpoints[-1], tuple(checkpoints), tuple(evaluations)))
    assert found == ([f"{message}{MEET}"] if message else [])


@pytest.mark.parametrize(
    ("given", "train_steps", "steps_per_epoch", "steps"),
    [
        ({"save_strategy": "no"}, 10, 5, ()),
        ({}, 1200, 5, (500, 1000)),
        ({"save_steps": 4}, 10, 5, (4, 8)),
        ({"save_steps": 0.5}, 9, 5, (5,)),
        ({"save_steps": 0}, 9, 5, ()),
        ({"save_strategy": "epoch"}, 10, 5, (5, 10)),
        ({"save_strategy": "epoch"}, 9, 4, (4, 8, 9)),
        ({"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 4}, 10, 5, (4, 8)),
        ({"save_strategy": "best", "eval_strategy": "epoch"}, 10, 5, (5, 10)),
        ({"save_strategy": "best"}, 10, 5, ()),
    ],
)
def test_checkpoints(given: dict[str, Any], train_steps: int, steps_per_epoch: int, steps: tuple[int, ...]) -> None:
    assert checkpoint_steps(arguments_of(**given), train_steps, steps_per_epoch) == steps


@st.composite
def intervals(draw: st.DrawFn) -> tuple[Arguments, int, int]:
    """Arguments of the intervals, train steps of the run, and train steps of an epoch."""
    interval = st.integers(0, 300) | st.floats(0, 1, exclude_max=True)
    return (
        arguments_of(
            eval_strategy=draw(st.sampled_from(get_args(get_args(Interval)[0]))),
            save_strategy=draw(st.sampled_from(get_args(get_args(SaveInterval)[0]))),
            eval_steps=draw(interval),
            save_steps=draw(interval),
            logging_steps=draw(interval),
        ),
        draw(st.integers(1, 300)),
        draw(st.integers(1, 300)),
    )


@given(intervals())
def test_steps_are_sorted_within_the_run(run: tuple[Arguments, int, int]) -> None:
    given_arguments, train_steps, _ = run
    evaluations, checkpoints = evaluation_steps(*run), checkpoint_steps(*run)
    for steps in (evaluations, checkpoints):
        assert list(steps) == sorted(set(steps))
        assert all(1 <= step <= train_steps for step in steps)
    # The model that the training ends with is always evaluated; only epochs always end with a checkpoint.
    assert evaluations[-1:] == (() if given_arguments.eval_strategy == "no" else (train_steps,))
    if given_arguments.save_strategy == "epoch":
        assert checkpoints[-1] == train_steps


@given(intervals(), st.integers(0, 20), st.booleans())
def test_a_delay_only_leaves_evaluations_out(run: tuple[Arguments, int, int], delay: int, on_start: bool) -> None:
    given_arguments, *steps = run
    delayed = given_arguments.model_copy(update={"eval_delay": delay, "eval_on_start": on_start})
    first, rest = evaluation_steps(delayed, *steps)[:on_start], evaluation_steps(delayed, *steps)[on_start:]
    assert first == (0,) * on_start
    assert set(rest) <= set(evaluation_steps(given_arguments, *steps))
