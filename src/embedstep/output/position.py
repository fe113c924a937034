"""Where a training stands in the order of its rows: what is kept with each checkpoint, and compared before going on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedstep.errors import Problem
from embedstep.output.result import read_json, write_json

POSITION_FILE = "embedstep_position.json"
POSITION_FORMAT = "embedstep.position/1"


def write_position(checkpoint: Path, position: Mapping[str, Any]) -> None:
    """Keep with a checkpoint what the order of the rows depends on."""
    write_json(checkpoint / POSITION_FILE, {"format": POSITION_FORMAT, **position})


def position_problems(checkpoint: Path, position: Mapping[str, Any]) -> Iterator[Problem]:
    """Refuse to go on from a checkpoint whose rows came in another order: some would come twice, and some never.

    Args:
        checkpoint: folder of the checkpoint; one that another program wrote says nothing of its order.
        position: what the order depends on in this run.
    """
    if not (checkpoint / POSITION_FILE).exists():
        return
    try:
        before = read_json(checkpoint / POSITION_FILE)
    except ValueError:
        told = f"{checkpoint / POSITION_FILE} cannot be read; remove it to go on without knowing the order"
        yield Problem("arguments.resume_from_checkpoint", told)
        return
    changed = [name for name in position if name in before and before[name] != position[name]]
    for name in changed:
        told = f"went by {name} {_shown(before[name])}, and this run goes by {_shown(position[name])}"
        yield Problem("arguments.resume_from_checkpoint", f"{checkpoint} {told}; the rows would not go on exactly")
    if {"batch_sampler", "train_sampling_strategy"} & set(changed):
        return  # another sampler also goes by other things, which are no mistakes of their own
    for name in sorted(position.keys() ^ (before.keys() - {"format"})):
        told = f"{name} is {_shown(before.get(name))} there and {_shown(position.get(name))} here"
        yield Problem("arguments.resume_from_checkpoint", f"{checkpoint} took its rows otherwise: {told}")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{name} {digest[:12]}" for name, digest in value)
    return "nothing" if value is None else str(value)
