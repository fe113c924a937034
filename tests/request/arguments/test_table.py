"""The table of arguments against the installed class: the tests name what a release adds, removes or changes."""

import dataclasses
import enum
from typing import Annotated, Any, get_args, get_origin

import pytest

from embedstep.request.arguments.rules import check_arguments
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.support import RELEASE_3_0
from embedstep.request.arguments.table import CONTRACT, Legacy
from embedstep.request.arguments.types import (
    BatchSamplerName,
    HubStrategy,
    Interval,
    MultiDatasetBatchSamplerName,
    OptimizerName,
    SaveInterval,
    SchedulerName,
)
from tests.places import RECORDED_3_0
from tests.request.arguments.test_schema import load

FIELDS = Arguments.model_fields
REFUSED: dict[str, Any] = {
    "average_tokens_across_devices": False,
    "batch_eval_metrics": True,
    "deepspeed": "ds.json",
    "enable_jit_checkpoint": True,
    "eval_do_concat_batches": False,
    "fp16_opt_level": "O2",
    "include_for_metrics": ["inputs"],
    "include_inputs_for_metrics": True,
    "jit_mode_eval": True,
    "label_names": ["label"],
    "liger_kernel_config": {"rope": True},
    "mp_parameters": "x=1",
    "optim_target_modules": "all-linear",
    "parallelism_config": {"dp": 2},
    "past_index": 0,
    "ray_scope": "all",
    "restore_callback_states_from_checkpoint": True,
    "tpu_num_cores": 8,
    "use_ipex": True,
    "use_legacy_prediction_loop": True,
    "use_liger_kernel": True,
}
"""For each refused argument, a value that is not its default."""
OTHER_DEFAULTS_TODAY = {
    "fsdp": None,
    "gradient_checkpointing": None,
    "hub_private_repo": None,
    "lr_scheduler_kwargs": None,
    "optim": "adamw_torch_fused",
    "output_dir": None,
    "report_to": "none",
    "warmup_ratio": None,
}
"""Defaults of the installed release that differ from 3.0: embedstep passes these arguments explicitly."""


def installed() -> dict[str, dataclasses.Field[Any]]:
    """The fields of the installed class, by name."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    return {field.name: field for field in dataclasses.fields(SentenceTransformerTrainingArguments)}


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of an installed field, an enumeration as its value."""
    factory = field.default_factory
    value = field.default if factory is dataclasses.MISSING else factory()
    return value.value if isinstance(value, enum.Enum) else value


def choices(kind: Any) -> list[str]:
    """The words of a `Literal`, with or without an annotation around it."""
    return list(get_args(get_args(kind)[0] if get_origin(kind) is Annotated else kind))


def test_every_installed_argument_is_in_the_table_and_no_other() -> None:
    ours, theirs = set(FIELDS) - set(Legacy.model_fields), set(installed())
    assert ours == theirs, (
        f"only in the installed release: {sorted(theirs - ours)}; only in the table: {sorted(ours - theirs)}"
    )


def test_every_argument_of_3_0_is_in_the_table_with_its_default() -> None:
    defaults = {row["name"]: row["default"] for row in RECORDED_3_0["signature"]}
    assert len(defaults) == 120
    assert {name for name, row in CONTRACT.items() if row.since == RELEASE_3_0} == set(defaults)
    given = {name: RECORDED_3_0["defaults"]["to_dict"].get(name) for name in defaults}
    assert Arguments.model_validate(given).model_fields_set <= {"output_dir", "prediction_loss_only", "logging_dir"}


def test_every_default_is_the_installed_one_or_given_to_it() -> None:
    empty: tuple[Any, ...] = (None, "", [], {})
    differ = {
        name: default_of(field)
        for name, field in installed().items()
        if default_of(field) != FIELDS[name].default
        and not (default_of(field) in empty and FIELDS[name].default in empty)
    }
    assert differ == {name: value for name, value in OTHER_DEFAULTS_TODAY.items() if name in differ}
    assert {"optim", "report_to", "gradient_checkpointing", "hub_private_repo"} <= differ.keys()


def test_every_choice_is_an_installed_one() -> None:
    from sentence_transformers.base.training_args import BatchSamplers, MultiDatasetBatchSamplers
    from transformers.trainer_utils import HubStrategy as InstalledHubStrategy
    from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
    from transformers.training_args import OptimizerNames

    pairs = [
        (OptimizerName, OptimizerNames),
        (SchedulerName, SchedulerType),
        (SaveInterval, SaveStrategy),
        (Interval, IntervalStrategy),
        (HubStrategy, InstalledHubStrategy),
        (BatchSamplerName, BatchSamplers),
        (MultiDatasetBatchSamplerName, MultiDatasetBatchSamplers),
    ]
    gone = {"adamw_hf", "adamw_apex_fused"}
    for ours, theirs in pairs:
        assert sorted(set(choices(ours)) - gone) == sorted(member.value for member in theirs), theirs.__name__


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_without_a_meaning_is_refused_unless_it_has_its_default(name: str) -> None:
    assert [str(problem) for problem in check_arguments(load({name: REFUSED[name]}))] == [
        f"arguments.{name}: is refused: {CONTRACT[name].instead}"
    ]
    assert check_arguments(load({name: FIELDS[name].default})) == []


def test_all_refused_arguments_are_known_here_and_named_at_once() -> None:
    assert set(REFUSED) == {name for name, row in CONTRACT.items() if row.support == "refused"}
    assert {problem.path for problem in check_arguments(load(REFUSED))} == {f"arguments.{name}" for name in REFUSED}
