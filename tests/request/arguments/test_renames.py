"""Older names of arguments, and the other names that set the same thing."""

from typing import Any

import pytest

from embedstep.request.arguments.renames import OLDER_NAMES, as_written, names_agree, other_names
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.table import CONTRACT, Legacy


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("eval_strategy", {"evaluation_strategy"}),
        ("evaluation_strategy", {"eval_strategy"}),
        ("optim", {"adafactor"}),
        ("hub_model_id", {"push_to_hub_model_id", "push_to_hub_organization"}),
        ("push_to_hub_model_id", {"hub_model_id"}),  # and not its owner, which is the other half of the name
        ("hub_token", {"push_to_hub_token"}),
        ("debug", set()),  # older names are merged into it
        ("accelerator_config", set()),
        ("split_batches", set()),
        ("learning_rate", set()),
    ],
)
def test_other_names_set_the_same_thing(name: str, others: set[str]) -> None:
    assert other_names(name) == others


def test_every_older_name_is_an_argument_that_was_removed_or_deprecated() -> None:
    deprecated = {"gradient_checkpointing", "gradient_checkpointing_kwargs"}
    assert OLDER_NAMES.keys() - deprecated <= Legacy.model_fields.keys()
    assert {other for name in OLDER_NAMES for other in other_names(name)} <= CONTRACT.keys()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"evaluation_strategy": "steps", "eval_strategy": "steps"}, None),
        ({"evaluation_strategy": "steps", "eval_strategy": "epoch"},
         "arguments.evaluation_strategy: says eval_strategy: steps, and eval_strategy says epoch; keep one"),
        ({"push_to_hub_token": {"from_env": "A"}, "hub_token": {"from_env": "B"}},
         "arguments.push_to_hub_token: says hub_token: another variable, and hub_token says another variable; "
         "keep one"),
        ({"fsdp_min_num_params": 5, "fsdp_config": {"min_num_params": 7}},
         "arguments.fsdp_min_num_params: is 5, and fsdp_config says 7; keep one"),
    ],
)  # fmt: skip
def test_two_names_for_the_same_must_agree(given: dict[str, Any], problem: str | None) -> None:
    found = [f"arguments.{name}: {message}" for name, message in names_agree(Arguments.model_validate(given))]
    assert found == ([problem] if problem else [])


def test_a_message_can_name_an_argument_as_it_was_written() -> None:
    assert as_written(Arguments(no_cuda=True)) == {"use_cpu": "no_cuda"}
