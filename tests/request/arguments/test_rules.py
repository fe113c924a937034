"""Training arguments that contradict each other or themselves."""

import inspect
from typing import Any, get_args

import pytest

from embedstep.request.arguments.rules import check_arguments
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.types import SCHEDULER_OPTIONS, SchedulerName


def paths(**given: Any) -> list[str]:
    return [problem.path for problem in check_arguments(Arguments.model_validate(given))]


def test_the_defaults_have_no_problem() -> None:
    assert paths() == []


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"per_device_train_batch_size": 0}, "arguments.per_device_train_batch_size"),
        ({"learning_rate": -1.0}, "arguments.learning_rate"),
        ({"label_smoothing_factor": 1.5}, "arguments.label_smoothing_factor"),
        ({"seed": 2**32}, "arguments.seed"),
        ({"half_precision_backend": "apex"}, "arguments.half_precision_backend"),
    ],
    ids=str,
)
def test_a_problem_is_at_the_argument_that_has_it(given: dict[str, Any], path: str) -> None:
    assert path in paths(**given)


def test_every_problem_is_reported() -> None:
    assert len(paths(per_device_train_batch_size=0, learning_rate=-1.0, seed=2**32)) == 3


@pytest.mark.parametrize("scheduler", get_args(SchedulerName))
def test_the_options_of_a_scheduler_are_those_of_the_installed_one(scheduler: str) -> None:
    from torch.optim.lr_scheduler import ReduceLROnPlateau
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, GreedyLR
    from transformers.trainer_utils import SchedulerType

    given_by_the_trainer = {"self", "optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "verbose"}
    classes = {"reduce_lr_on_plateau": ReduceLROnPlateau, "greedy": GreedyLR}
    function = classes.get(scheduler) or TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(scheduler)]
    names = set(inspect.signature(function).parameters) - given_by_the_trainer
    assert names == SCHEDULER_OPTIONS[scheduler] - {"verbose"}
