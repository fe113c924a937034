"""Which value each training argument has in this run, where it came from, and what embedstep set and why.

The trainer gets exactly the values whose source is not the installed default; nothing else is decided later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from embedstep.arguments.schema import INSTEAD, Arguments
from embedstep.errors import Problem

Source = Literal["request", "embedstep", "default"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerEntry:
    """One argument of one run.

    Attributes:
        name: name in SentenceTransformerTrainingArguments.
        value: the value that the trainer gets.
        source: who set it: the request, embedstep for this machine, or nobody (the installed default).
        note: what it did in this run, where that is not plain from name and value.
    """

    name: str
    value: Any
    source: Source
    note: str = ""


def ledger(arguments: Arguments, *, gpus: int, world_size: int, has_evaluation: bool) -> tuple[LedgerEntry, ...]:
    """Return one entry for each argument, in the order of the table.

    Args:
        arguments: as the request gave them.
        gpus: visible GPUs on the node.
        world_size: processes that train together.
        has_evaluation: whether there is anything to evaluate with.
    """
    ours = _set_for_this_run(arguments, gpus=gpus, world_size=world_size, has_evaluation=has_evaluation)
    entries = []
    for name in type(arguments).model_fields:
        given = name in arguments.model_fields_set
        if name in ours:
            value, note = ours[name]
            entries.append(LedgerEntry(name=name, value=value, source="embedstep", note=note))
        else:
            value = getattr(arguments, name)
            entries.append(LedgerEntry(name=name, value=value, source="request" if given else "default"))
    return tuple(entries)


def _set_for_this_run(
    arguments: Arguments, *, gpus: int, world_size: int, has_evaluation: bool
) -> Mapping[str, tuple[Any, str]]:
    """Return what embedstep sets over the request and the defaults, with the reason."""
    given = arguments.model_fields_set
    ours: dict[str, tuple[Any, str]] = {
        "output_dir": (None, "checkpoints/ in the output folder of the step"),
        "disable_tqdm": (True, "embedstep shows the progress"),
    }
    if not arguments.prediction_loss_only:
        ours["prediction_loss_only"] = (True, "metrics come from evaluators")
    on_cpu = arguments.use_cpu or gpus == 0
    if on_cpu and not arguments.use_cpu:
        ours["use_cpu"] = (True, "no GPU is visible")
    if on_cpu and arguments.dataloader_pin_memory and "dataloader_pin_memory" not in given:
        ours["dataloader_pin_memory"] = (False, "there is no GPU to copy to")
    if on_cpu and world_size > 1 and arguments.ddp_backend is None:
        ours["ddp_backend"] = ("gloo", "the processes meet on the CPU")
    if world_size > 1 and not arguments.dataloader_drop_last:
        ours["dataloader_drop_last"] = (True, "all processes must make the same number of steps")
    if has_evaluation and "eval_strategy" not in given:
        ours["eval_strategy"] = ("epoch", "there is data to evaluate with and no strategy was given")
    return ours


def trainer_arguments(entries: tuple[LedgerEntry, ...]) -> dict[str, Any]:
    """Return the keyword arguments for SentenceTransformerTrainingArguments, less `output_dir`."""
    return {entry.name: entry.value for entry in entries if entry.source != "default" and entry.name != "output_dir"}


def check_arguments(arguments: Arguments) -> list[Problem]:
    """Refuse each argument that the installed trainer would ignore or break on, unless it has its default value."""
    problems = []
    for name, field in type(arguments).model_fields.items():
        extra = field.json_schema_extra
        instead = extra.get(INSTEAD) if isinstance(extra, dict) else None
        if instead and getattr(arguments, name) != field.default:
            problems.append(Problem(f"arguments.{name}", f"is refused: {instead}"))
    return problems
