"""Which value each training argument has in this run, where it came from, and what it does in it.

The trainer gets every argument of the installed release with the value that stands here, so that no release's own
defaults decide; nothing else is decided later.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from embedstep.request.arguments.fates import Fate
from embedstep.request.arguments.schema import CONTRACT, Arguments, Legacy
from embedstep.request.arguments.today import todays_values

Source = Literal["request", "dump", "embedstep", "default"]
_NOT_GIVEN = {
    "output_dir": "the step has a folder of its own",
    "hub_token": "a secret; the libraries read HF_TOKEN",
    "warmup_ratio": "today a name with a warning; the planned steps are given",
    "gradient_checkpointing": "today a name with a warning, for activation_checkpointing",
    "gradient_checkpointing_kwargs": "today a name with a warning, for activation_checkpointing_kwargs",
}
"""Installed arguments that the trainer never gets from here, and why."""


_PINNED = {"report_to", "hub_private_repo"}
"""Defaults that need another word today to stay what they were; nobody has chosen anything there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One argument of one run.

    Attributes:
        name: name in SentenceTransformerTrainingArguments, of either era.
        value: the value in force.
        source: who set it: a person's request, a dump that a library wrote, embedstep for this run, or nobody.
        fate: what becomes of the argument.
        effect: what it did in this run, where that is not plain from name and value.
    """

    name: str
    value: Any
    source: Source
    fate: Fate
    effect: str = ""


def ledger(arguments: Arguments, *, gpus: int, world_size: int, has_evaluation: bool) -> tuple[LedgerEntry, ...]:
    """Return one entry for each argument, in the order of the table.

    Args:
        arguments: as the request gave them.
        gpus: visible GPUs on the node.
        world_size: processes that train together.
        has_evaluation: whether there is anything to evaluate with.
    """
    todays = {name: (value, reason) for name, value, reason in todays_values(arguments)}
    ours = dict(_set_for_this_run(arguments, gpus=gpus, world_size=world_size, has_evaluation=has_evaluation))
    written = arguments.model_dump(mode="json")
    entries = []
    for row in CONTRACT.values():
        is_given = row.name in arguments.model_fields_set
        source: Source = ("dump" if arguments.is_dump else "request") if is_given else "default"
        value, effect = written[row.name], ""
        # Of what is switched off, only this one does something by that.
        is_on = is_given and (getattr(arguments, row.name) != row.default or row.name == "do_train")
        if is_on and row.fate == "translated" and row.name != row.today:
            effect = f"means {row.today}" if row.today else "happens anyway"
        elif is_on and row.fate == "implemented":
            effect = f"done by {row.by}"
        if row.name in todays:
            value, effect = todays[row.name]
            source = source if is_given or row.name in _PINNED else "embedstep"
        if row.name in ours:
            value, effect = ours[row.name]
            source = "embedstep"
        entries.append(LedgerEntry(name=row.name, value=value, source=source, fate=row.fate, effect=effect))
    return tuple(entries)


def _set_for_this_run(
    arguments: Arguments, *, gpus: int, world_size: int, has_evaluation: bool
) -> Iterator[tuple[str, tuple[Any, str]]]:
    """Yield what embedstep sets over the request and the defaults, with the reason."""
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
            yield "ddp_backend", ("gloo", "the processes meet on the CPU")
        if not arguments.dataloader_drop_last:
            yield "dataloader_drop_last", (True, "all processes must make the same number of steps")
    elif arguments.ddp_backend is not None:
        yield "ddp_backend", (None, "there is one process, which meets nobody")
    is_off = "do_eval" in given and not arguments.do_eval
    if has_evaluation and "eval_strategy" not in given and not is_off and not arguments.is_dump:
        yield "eval_strategy", ("epoch", "there is data to evaluate with and no strategy was given")


def effective_arguments(arguments: Arguments, entries: tuple[LedgerEntry, ...]) -> Arguments:
    """Return the arguments with the values of the ledger, for whoever reads one of them by name."""
    secrets = {"hub_token", "push_to_hub_token"}
    return arguments.model_copy(update={entry.name: entry.value for entry in entries if entry.name not in secrets})


def with_warmup_steps(entries: tuple[LedgerEntry, ...], steps: int) -> tuple[LedgerEntry, ...]:
    """Return the entries, with what the warm-up comes to beside the argument that asks for it by a share.

    Args:
        entries: the ledger.
        steps: steps of warm-up as planned.
    """
    values = {entry.name: entry.value for entry in entries}
    asking = "warmup_steps" if values["warmup_steps"] > 0 else "warmup_ratio"
    is_share = 0 < (values[asking] or 0) < 1 or (asking == "warmup_ratio" and values[asking])
    if not is_share:
        return entries
    return tuple(replace(entry, effect=f"{steps} steps") if entry.name == asking else entry for entry in entries)


def trainer_arguments(entries: tuple[LedgerEntry, ...], *, warmup_steps: int) -> dict[str, Any]:
    """Return the keyword arguments for the installed class, less what the step gives it otherwise.

    Args:
        entries: the ledger.
        warmup_steps: steps of warm-up as planned: a number below 1 would be a share today, and a ratio of 1 one step.
    """
    installed = {entry.name: entry.value for entry in entries if entry.name not in Legacy.model_fields}
    given = {name: value for name, value in installed.items() if name not in _NOT_GIVEN}
    empty = {"fsdp": None, "lr_scheduler_kwargs": None, "debug": ""}
    return given | {name: given[name] or value for name, value in empty.items()} | {"warmup_steps": warmup_steps}


def differences(entries: tuple[LedgerEntry, ...], found: Mapping[str, Any]) -> Iterator[str]:
    """Yield each argument that the real trainer ended up with another value of than the ledger says.

    Args:
        entries: the ledger.
        found: the trainer's own arguments after the training, as plain values by name.
    """
    for entry in entries:
        if entry.name in Legacy.model_fields or entry.name in _NOT_GIVEN or entry.name in _FOLLOWS_FROM_OTHERS:
            continue
        if entry.name in found and not _same(entry.value, found[entry.name]):
            yield f"{entry.name} was planned as {entry.value!r}, and the trainer had {found[entry.name]!r}"


_FOLLOWS_FROM_OTHERS = {
    "accelerator_config": "filled up with accelerate's defaults",
    "activation_checkpointing_kwargs": "filled up by the trainer",
    "ddp_broadcast_buffers": "forced by the trainer",
    "do_eval": "follows from eval_strategy",
    "eval_steps": "logging_steps when it is not given",
    "fsdp_config": "filled up with accelerate's defaults",
    "local_rank": "torchrun's",
    "metric_for_best_model": "loss when the best model is asked for and none is given",
    "report_to": "a list of names",
    "run_name": "the output folder when it is not given",
    "save_steps": "a whole number when it is given as 10.0",
    "logging_steps": "a whole number when it is given as 10.0",
    "torch_compile": "follows from backend and mode",
    "torch_compile_backend": "the default backend when torch_compile is on",
    "warmup_steps": "the planned number of steps",
}
"""Arguments of which the class itself makes another value, and what of."""


def _same(planned: Any, found: Any) -> bool:
    empty: tuple[Any, ...] = (None, "", [], {}, False)
    return planned == found or (planned in empty and found in empty)
