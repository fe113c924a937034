"""The value of each argument in a run, who set it, and what it does."""

from dataclasses import fields
from typing import Any

import pytest

from embedstep import TrainingArguments
from embedstep.request.arguments.ledger import LedgerEntry, ledger, trainer_arguments
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.table import CONTRACT, Legacy


def entries(
    *, gpus: int = 0, world_size: int = 1, has_evaluation: bool = False, **given: Any
) -> dict[str, LedgerEntry]:
    found = ledger(Arguments.model_validate(given), gpus=gpus, world_size=world_size, has_evaluation=has_evaluation)
    return {entry.name: entry for entry in found}


def ours(found: dict[str, LedgerEntry]) -> dict[str, tuple[Any, str]]:
    """What embedstep sets, with the reason."""
    return {name: (entry.value, entry.effect) for name, entry in found.items() if entry.source == "embedstep"}


ALWAYS = {
    "output_dir": (None, "checkpoints/ in the output folder of the step"),
    "disable_tqdm": (True, "embedstep shows the progress"),
    "prediction_loss_only": (True, "metrics come from evaluators"),
    "optim": ("adamw_torch_fused", "not given: the default of the installed class (3.0 had adamw_torch)"),
}
ON_CPU = {
    "use_cpu": (True, "no GPU is visible"),
    "dataloader_pin_memory": (False, "there is no GPU to copy to"),
}
TOGETHER = {"dataloader_drop_last": (True, "all processes must make the same number of steps")}
GLOO = {"ddp_backend": ("gloo", "the processes communicate on the CPU")}


def test_there_is_one_entry_for_each_argument_in_the_order_of_the_table() -> None:
    assert list(entries()) == list(Arguments.model_fields)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({"gpus": 0, "world_size": 1}, {**ALWAYS, **ON_CPU}),
        ({"gpus": 0, "world_size": 2}, {**ALWAYS, **ON_CPU, **GLOO, **TOGETHER}),
        ({"gpus": 1, "world_size": 1}, ALWAYS),
        ({"gpus": 4, "world_size": 4}, {**ALWAYS, **TOGETHER}),
    ],
    ids=["CPU", "two processes on the CPU", "GPU", "four GPUs"],
)
def test_embedstep_sets_what_a_machine_needs_and_says_why(
    machine: dict[str, Any], expected: dict[str, tuple[Any, str]]
) -> None:
    assert ours(entries(**machine)) == expected


def test_a_cpu_that_the_request_asks_for_is_set_by_the_request() -> None:
    found = entries(gpus=4, world_size=2, use_cpu=True)
    assert (found["use_cpu"].value, found["use_cpu"].source) == (True, "request")
    assert ours(found) == {**ALWAYS, **GLOO, **TOGETHER, "dataloader_pin_memory": ON_CPU["dataloader_pin_memory"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [("dataloader_pin_memory", True), ("dataloader_pin_memory", False), ("ddp_backend", "mpi"), ("ddp_backend", "gloo"),
     ("dataloader_drop_last", True)],
)  # fmt: skip
def test_a_value_in_the_request_wins_where_it_can(name: str, value: object) -> None:
    entry = entries(world_size=2, **dict[str, Any]({name: value}))[name]
    assert (entry.value, entry.source) == (value, "request")


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [("use_cpu", False, True), ("dataloader_drop_last", False, True), ("disable_tqdm", False, True),
     ("output_dir", "elsewhere", None)],
)  # fmt: skip
def test_what_the_machine_cannot_do_overrides_the_request(name: str, written: object, value: object) -> None:
    entry = entries(world_size=2, **dict[str, Any]({name: written}))[name]
    assert (entry.value, entry.source) == (value, "embedstep")
    assert entry.effect


@pytest.mark.parametrize(
    ("has_evaluation", "given", "value", "source"),
    [
        (False, {}, "no", "default"),
        (True, {}, "epoch", "embedstep"),
        (True, {"eval_strategy": "steps"}, "steps", "request"),
        (True, {"eval_strategy": "no"}, "no", "request"),
        (False, {"eval_strategy": "no"}, "no", "request"),
    ],
)
def test_evaluation_data_is_used_unless_the_request_says_otherwise(
    has_evaluation: bool, given: dict[str, Any], value: str, source: str
) -> None:
    entry = entries(has_evaluation=has_evaluation, **given)["eval_strategy"]
    assert (entry.value, entry.source) == (value, source)
    assert bool(entry.effect) == (source == "embedstep")


def test_a_default_that_the_request_gives_is_set_by_the_request() -> None:
    assert entries(learning_rate=5e-5)["learning_rate"].source == "request"
    assert entries()["learning_rate"] == LedgerEntry(name="learning_rate", value=5e-5, source="default", support="used")


def test_the_trainer_gets_every_installed_argument() -> None:
    given = Arguments.model_validate({"learning_rate": 1e-3, "output_dir": "x", "warmup_ratio": 1.0})
    found = trainer_arguments(ledger(given, gpus=0, world_size=2, has_evaluation=True), warmup_steps=20)
    kept_back = {"output_dir", "hub_token", "warmup_ratio", "gradient_checkpointing", "gradient_checkpointing_kwargs"}
    assert set(found) == set(Arguments.model_fields) - set(Legacy.model_fields) - kept_back
    expected = {
        "learning_rate": 1e-3, "use_cpu": True, "dataloader_pin_memory": False, "ddp_backend": "gloo",
        "dataloader_drop_last": True, "disable_tqdm": True, "eval_strategy": "epoch", "prediction_loss_only": True,
        "optim": "adamw_torch_fused", "report_to": "none", "warmup_steps": 20, "hub_private_repo": None,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_only_the_chosen_values_of_a_dump_count_as_set() -> None:
    dump = {**{name: row.default for name, row in CONTRACT.items()}, "learning_rate": 1e-3, "local_rank": 0}
    found = {entry.name: entry for entry in ledger(
        Arguments.model_validate(dump), gpus=0, world_size=1, has_evaluation=True
    )}  # fmt: skip
    assert {name for name, entry in found.items() if entry.source == "dump"} == {"learning_rate"}
    assert (found["eval_strategy"].value, found["eval_strategy"].source) == ("no", "default")
    assert (found["optim"].value, found["optim"].source) == ("adamw_torch", "default")


def test_the_default_optimizer_is_that_of_the_installed_class() -> None:
    from sentence_transformers import SentenceTransformerTrainingArguments

    installed = next(each for each in fields(SentenceTransformerTrainingArguments) if each.name == "optim")
    assert entries()["optim"].value == installed.default
    assert (TrainingArguments().optim, entries(optim="adamw_torch")["optim"].value) == ("adamw_torch", "adamw_torch")


@pytest.mark.parametrize(
    ("given", "name", "value", "effect"),
    [
        ({"max_steps": 0}, "max_steps", -1, "0 means that epochs decide; the installed trainer would make one step"),
        ({"warmup_steps": -1}, "warmup_steps", 0, "a negative number means that warmup_ratio decides"),
        ({"warmup_steps": 5, "warmup_ratio": 0.1}, "warmup_ratio", 0.1, "warmup_steps wins"),
        ({"logging_dir": "x"}, "logging_dir", "x", "nothing is written there: report_to names no tensorboard"),
        ({"eval_delay": None}, "eval_delay", 0, "null means no delay; the installed trainer fails on it"),
        ({"optim": "adamw_hf"}, "optim", "adamw_torch", "adamw_hf was removed; this is the same algorithm in torch"),
        ({"metric_for_best_model": "eval_sts_loss"}, "greater_is_better", True,
         "greater, unless the metric is loss or eval_loss, as in 3.0"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "metric_for_best_model", "loss",
         "reduce_lr_on_plateau needs one; the loss if none is given"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "greater_is_better", False,
         "greater, unless the metric is loss or eval_loss, as in 3.0"),
        ({"load_best_model_at_end": True}, "greater_is_better", False,
         "greater, unless the metric is loss or eval_loss, as in 3.0"),
        ({"report_to": ["mlflow", "tensorboard"]}, "report_to", ["tensorboard"], "the run is recorded by `tracking`"),
        ({"report_to": "all"}, "report_to", "none", "the run is recorded by `tracking`"),
        ({}, "report_to", "none", "the run is recorded by `tracking`"),
        ({"ddp_backend": "gloo"}, "ddp_backend", None, "a single process needs no backend"),
        ({"evaluation_strategy": "epoch"}, "evaluation_strategy", "epoch", "means eval_strategy"),
        ({"evaluation_strategy": "epoch"}, "eval_strategy", "epoch", ""),
        ({"half_precision_backend": "cuda_amp"}, "half_precision_backend", "cuda_amp", "always done"),
        ({"data_seed": 3}, "data_seed", 3, "done by the samplers"),
    ],
)  # fmt: skip
def test_older_values_keep_their_meaning_and_the_ledger_says_how(
    given: dict[str, Any], name: str, value: object, effect: str
) -> None:
    entry = entries(**given)[name]
    assert (entry.value, entry.effect) == (value, effect)
