"""The value of each training argument in this run, where it comes from, and what it does.

The trainer gets every argument of the installed release from here, so no release's own defaults decide anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from embedstep.request.arguments.installed import installed_values
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.support import Support
from embedstep.request.arguments.table import CONTRACT, Legacy
from embedstep.request.arguments.types import BATCH_SAMPLERS
from embedstep.runtime.text import count

Source = Literal["request", "dump", "embedstep", "default"]
_NOT_GIVEN = {
    "output_dir": "the step has its own folder",
    "hub_token": "a secret; the libraries read HF_TOKEN",
    "warmup_ratio": "deprecated; the trainer gets the planned warmup steps",
    "gradient_checkpointing": "deprecated; the trainer gets activation_checkpointing",
    "gradient_checkpointing_kwargs": "deprecated; the trainer gets activation_checkpointing_kwargs",
}
"""Installed arguments that the trainer never gets from here, and why."""
_SAME_DEFAULT = {"report_to", "hub_private_repo"}
"""Defaults that need another value today to mean the same; they stay defaults, since nobody chose them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One argument of one run.

    Attributes:
        name: name in SentenceTransformerTrainingArguments, of 3.0 or of the installed release.
        value: effective value.
        source: who set it: a request, a dump that a library wrote, embedstep for this run, or nobody (a default).
        support: how the argument is supported.
        effect: what it does in this run, if name and value do not say it.
    """

    name: str
    value: Any
    source: Source
    support: Support
    effect: str = ""


def ledger(arguments: Arguments, *, gpus: int, world_size: int, has_evaluation: bool) -> tuple[LedgerEntry, ...]:
    """Return one entry for each argument, in the order of the table.

    Args:
        arguments: as the request gives them.
        gpus: visible GPUs on the node.
        world_size: number of processes.
        has_evaluation: whether the request has evaluation data.
    """
    installed = {name: (value, reason) for name, value, reason in installed_values(arguments)}
    ours = dict(_set_for_this_run(arguments, gpus=gpus, world_size=world_size, has_evaluation=has_evaluation))
    written = arguments.model_dump(mode="json")
    entries = []
    for row in CONTRACT.values():
        is_given = row.name in arguments.model_fields_set
        source: Source = ("dump" if arguments.is_dump else "request") if is_given else "default"
        value, effect = written[row.name], ""
        # Of the arguments that are off, only do_train: false has an effect.
        is_on = is_given and (getattr(arguments, row.name) != row.default or row.name == "do_train")
        if is_on and row.support == "translated" and row.name != row.current_name:
            effect = f"means {row.current_name}" if row.current_name else "always done"
        elif is_on and row.support == "implemented":
            effect = f"done by {row.by}"
        if row.name in installed:
            value, effect = installed[row.name]
            source = source if is_given or row.name in _SAME_DEFAULT else "embedstep"
        if row.name in ours:
            value, effect = ours[row.name]
            source = "embedstep"
        entries.append(LedgerEntry(name=row.name, value=value, source=source, support=row.support, effect=effect))
    return tuple(entries)


def _set_for_this_run(
    arguments: Arguments, *, gpus: int, world_size: int, has_evaluation: bool
) -> Iterator[tuple[str, tuple[Any, str]]]:
    """Yield the values that embedstep sets over the request and the defaults, with the reason."""
    given = arguments.model_fields_set
    yield "output_dir", (None, "checkpoints/ in the output folder of the step")
    yield "disable_tqdm", (True, "embedstep shows the progress")
    yield "prediction_loss_only", (True, "metrics come from evaluators")
    on_cpu = arguments.use_cpu or gpus == 0
    if on_cpu and not arguments.use_cpu:
        yield "use_cpu", (True, "no GPU is visible")
    if on_cpu and arguments.dataloader_pin_memory and "dataloader_pin_memory" not in given:
        yield "dataloader_pin_memory", (False, "there is no GPU to copy to")
    if world_size > 1:
        if on_cpu and arguments.ddp_backend is None:
            yield "ddp_backend", ("gloo", "the processes communicate on the CPU")
        if not arguments.dataloader_drop_last:
            yield "dataloader_drop_last", (True, "all processes must make the same number of steps")
    elif arguments.ddp_backend is not None:
        yield "ddp_backend", (None, "a single process needs no backend")
    is_off = "do_eval" in given and not arguments.do_eval
    if has_evaluation and "eval_strategy" not in given and not is_off and not arguments.is_dump:
        yield "eval_strategy", ("epoch", "there is evaluation data and no strategy was given")


def effective_arguments(arguments: Arguments, entries: tuple[LedgerEntry, ...]) -> Arguments:
    """Return the arguments with the effective values of the ledger."""
    secrets = {"hub_token", "push_to_hub_token"}
    return arguments.model_copy(update={entry.name: entry.value for entry in entries if entry.name not in secrets})


def with_warmup_steps(entries: tuple[LedgerEntry, ...], steps: int) -> tuple[LedgerEntry, ...]:
    """Return the entries with the planned warmup steps as the effect of the argument that gives them as a share.

    Args:
        entries: the ledger.
        steps: planned warmup steps.
    """
    values = {entry.name: entry.value for entry in entries}
    source = "warmup_steps" if values["warmup_steps"] > 0 else "warmup_ratio"
    is_share = 0 < (values[source] or 0) < 1 or (source == "warmup_ratio" and values[source])
    if not is_share:
        return entries
    return tuple(replace(entry, effect=count(steps, "step")) if entry.name == source else entry for entry in entries)


def trainer_arguments(entries: tuple[LedgerEntry, ...], *, warmup_steps: int) -> dict[str, Any]:
    """Return the keyword arguments for the installed class, without those that the step passes itself.

    Args:
        entries: the ledger.
        warmup_steps: planned steps, because the installed class reads a ratio of 1 as a single step.
    """
    installed = {entry.name: entry.value for entry in entries if entry.name not in Legacy.model_fields}
    given = {name: value for name, value in installed.items() if name not in _NOT_GIVEN}
    empty = {"fsdp": None, "lr_scheduler_kwargs": None, "debug": ""}
    given |= {name: given[name] or value for name, value in empty.items()} | {"warmup_steps": warmup_steps}
    if given["batch_sampler"] not in BATCH_SAMPLERS:  # one of another package, whose batches the class never sees
        given["batch_sampler"] = Arguments.model_fields["batch_sampler"].default
    return given


def differences(entries: tuple[LedgerEntry, ...], found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each argument whose value in the trainer is not that of the ledger.

    Args:
        entries: the ledger.
        found: the trainer's arguments after the training, as plain values by name.
    """
    for entry in entries:
        if entry.name in Legacy.model_fields or entry.name in _NOT_GIVEN or entry.name in _FOLLOWS_FROM_OTHERS:
            continue
        if entry.name == "batch_sampler" and entry.value not in BATCH_SAMPLERS:
            continue
        if entry.name in found and not _same(entry.value, found[entry.name]):
            yield f"{entry.name} was planned as {entry.value!r}, and the trainer had {found[entry.name]!r}"


_FOLLOWS_FROM_OTHERS = {
    "accelerator_config": "completed with accelerate's defaults",
    "activation_checkpointing_kwargs": "completed by the trainer",
    "ddp_broadcast_buffers": "forced by the trainer",
    "do_eval": "follows from eval_strategy",
    "eval_steps": "logging_steps if it is not given",
    "fsdp_config": "completed with accelerate's defaults",
    "local_rank": "set by torchrun",
    "metric_for_best_model": "the loss if load_best_model_at_end is set and no metric is given",
    "report_to": "a list of names",
    "run_name": "the output folder if it is not given",
    "save_steps": "an integer if it is given as 10.0",
    "logging_steps": "an integer if it is given as 10.0",
    "torch_compile": "follows from backend and mode",
    "torch_compile_backend": "the default backend if torch_compile is on",
    "warmup_steps": "the planned number of steps",
}
"""Arguments whose value the installed class derives itself, and how."""


def _same(planned: Any, found: Any) -> bool:
    empty: tuple[Any, ...] = (None, "", [], {}, False)
    return planned == found or (planned in empty and found in empty)
