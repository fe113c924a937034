"""The table of arguments beside the installed class: whatever a release adds, drops or changes is named here."""

import dataclasses
import enum
import json
from typing import Annotated, Any, get_args, get_origin

import pytest

from embedstep.arguments.ledger import check_arguments, ledger, trainer_arguments
from embedstep.arguments.schema import (
    INSTEAD,
    Arguments,
    BatchSampler,
    HubStrategy,
    Interval,
    MultiDatasetBatchSampler,
    Optimizer,
    SaveInterval,
    Scheduler,
)
from embedstep.errors import RefusedError
from embedstep.request.loading import load_request

FIELDS = Arguments.model_fields
REFUSED: dict[str, Any] = {
    "auto_find_batch_size": True,
    "average_tokens_across_devices": False,
    "batch_eval_metrics": True,
    "dataloader_in_order": False,
    "dataloader_multiprocessing_context": "spawn",
    "ddp_broadcast_buffers": True,
    "deepspeed": "ds.json",
    "do_predict": True,
    "enable_jit_checkpoint": True,
    "eval_do_concat_batches": False,
    "hub_token": "x",
    "ignore_data_skip": True,
    "include_for_metrics": ["inputs"],
    "include_num_input_tokens_seen": "all",
    "label_names": ["label"],
    "label_smoothing_factor": 0.1,
    "length_column_name": "size",
    "liger_kernel_config": {"rope": True},
    "local_rank": 0,
    "neftune_noise_alpha": 5.0,
    "optim_target_modules": "all-linear",
    "parallelism_config": {"dp": 2},
    "project": "mine",
    "remove_unused_columns": False,
    "restore_callback_states_from_checkpoint": True,
    "run_name": "mine",
    "resume_from_checkpoint": "last",
    "save_on_each_node": True,
    "trackio_bucket_id": "x",
    "trackio_space_id": "x",
    "trackio_static_space_id": "x",
    "train_sampling_strategy": "sequential",
    "use_liger_kernel": True,
}
"""For each refused argument, a value that is not its default."""


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


def load(given: dict[str, Any]) -> Arguments:
    docs = {"path": "a.csv", "columns": {"anchor": "a", "positive": "b"}}
    document = {"model": "m", "data": {"train": {"docs": docs}}, "loss": "cosent", "arguments": given}
    return load_request(json.dumps(document)).arguments


def test_every_installed_argument_is_in_the_table_and_no_other() -> None:
    ours, theirs = set(FIELDS), set(installed())
    assert ours == theirs, (
        f"only in the installed release: {sorted(theirs - ours)}; only in the table: {sorted(ours - theirs)}"
    )


def test_every_default_is_the_installed_one() -> None:
    differ = {
        name: f"installed {default_of(field)!r}, table {FIELDS[name].default!r}"
        for name, field in installed().items()
        if name in FIELDS and default_of(field) != FIELDS[name].default
    }
    assert differ == {}


def test_every_choice_is_an_installed_one() -> None:
    from sentence_transformers.base.training_args import BatchSamplers, MultiDatasetBatchSamplers
    from transformers.trainer_utils import HubStrategy as InstalledHubStrategy
    from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
    from transformers.training_args import OptimizerNames

    pairs = [
        (Optimizer, OptimizerNames),
        (Scheduler, SchedulerType),
        (SaveInterval, SaveStrategy),
        (Interval, IntervalStrategy),
        (HubStrategy, InstalledHubStrategy),
        (BatchSampler, BatchSamplers),
        (MultiDatasetBatchSampler, MultiDatasetBatchSamplers),
    ]
    for ours, theirs in pairs:
        assert sorted(choices(ours)) == sorted(member.value for member in theirs), theirs.__name__


@pytest.mark.parametrize("name", FIELDS)
def test_every_argument_says_what_it_is_for(name: str) -> None:
    description = FIELDS[name].description
    assert description
    assert description.endswith(".")


def test_every_refused_argument_is_known_here() -> None:
    marked = {name for name, field in FIELDS.items() if isinstance(field.json_schema_extra, dict)}
    assert marked == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_that_the_trainer_ignores_is_refused_unless_it_is_the_default(name: str) -> None:
    extra = FIELDS[name].json_schema_extra
    assert isinstance(extra, dict)
    assert [str(problem) for problem in check_arguments(load({name: REFUSED[name]}))] == [
        f"arguments.{name}: is refused: {extra[INSTEAD]}"
    ]
    assert check_arguments(load({name: FIELDS[name].default})) == []


def test_all_refused_arguments_are_named_at_once() -> None:
    assert {problem.path for problem in check_arguments(load(REFUSED))} == {f"arguments.{name}" for name in REFUSED}


def test_the_defaults_are_not_refused() -> None:
    assert check_arguments(Arguments()) == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"learning_rate": "2e-5", "warmup_steps": 0.1, "max_steps": 7, "seed": 3},
        {"eval_strategy": "steps", "eval_steps": 0.25, "save_strategy": "steps", "save_steps": 0.5},
        {"load_best_model_at_end": True, "metric_for_best_model": "loss", "eval_strategy": "epoch",
         "save_strategy": "epoch", "greater_is_better": False, "save_total_limit": 2},
        {"optim": "adafactor", "lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}},
        {"batch_sampler": "no_duplicates", "multi_dataset_batch_sampler": "round_robin",
         "prompts": {"anchor": "query: "}},
        {"bf16": True, "use_cpu": True, "gradient_accumulation_steps": 4, "max_grad_norm": 0},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True, "dataloader_prefetch_factor": 4},
        {"logging_strategy": "epoch", "run_name": "no", "report_to": "none", "disable_tqdm": False},
    ],
    ids=lambda given: ",".join(given),
)  # fmt: skip
def test_the_installed_class_has_the_values_of_the_ledger(given: dict[str, Any]) -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    entries = ledger(load(given), gpus=0, world_size=1, has_evaluation=False)
    built = SentenceTransformerTrainingArguments(output_dir="unused", **trainer_arguments(entries)).to_dict()
    # To the class, `none` is a word for a list of no trackers.
    expected = {
        entry.name: [] if entry.value == "none" else entry.value for entry in entries if entry.source != "default"
    }
    del expected["output_dir"]
    differ = {name: (built[name], value) for name, value in expected.items() if built[name] != value}
    assert differ == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optim": "adamw_torch_fusd"}, "did you mean adamw_torch_fused?"),
        ({"batch_sampler": "NO_DUPLICATES"}, "did you mean no_duplicates?"),
        ({"save_strategy": "bests"}, "did you mean best?"),
    ],
)
def test_a_word_that_is_nearly_one_of_the_choices_is_refused_with_that_one(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RefusedError, match="must be") as caught:
        load(given)
    assert message in str(caught.value)
