"""What an editor completes: the training arguments as keyword arguments with their types."""

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from embedstep.orchestration.typed_arguments import ArgumentParameters, Channel
from embedstep.request.arguments.table import CONTRACT

HINTS = get_type_hints(ArgumentParameters)


def test_every_argument_may_be_given_and_none_has_to_be() -> None:
    assert list(HINTS) == list(CONTRACT)
    assert (ArgumentParameters.__required_keys__, len(HINTS)) == (frozenset(), 151)


def test_an_argument_has_its_type_or_is_known_only_when_the_pipeline_runs() -> None:
    expected: dict[str, Any] = {
        "learning_rate": float | Channel,
        "per_device_train_batch_size": int | Channel,
        "warmup_steps": int | float | Channel,
        "fp16": bool | Channel,
        "run_name": str | Channel,
        "label_names": list[str] | Channel,
        "lr_scheduler_kwargs": Mapping[str, Any] | Channel,
        "hub_token": Mapping[str, str] | Channel,
    }
    assert {name: HINTS[name] for name in expected} == expected
    strategies, channel = get_args(HINTS["eval_strategy"])
    assert (get_args(strategies), channel) == (("no", "steps", "epoch"), Channel)
