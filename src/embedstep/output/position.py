"""The settings that the order of the rows depends on: stored with each checkpoint, and compared when resuming."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedstep.errors import Problem
from embedstep.output.result import read_json, write_json

POSITION_FILE = "embedstep_position.json"
POSITION_FORMAT = "embedstep.position/1"


def write_position(checkpoint: Path, position: Mapping[str, Any]) -> None:
    """Store with a checkpoint everything that the order of the rows depends on."""
    write_json(checkpoint / POSITION_FILE, {"format": POSITION_FORMAT, **position})


def position_problems(checkpoint: Path, position: Mapping[str, Any]) -> Iterator[Problem]:
    """Refuse a checkpoint with another order of rows, because rows would be repeated and others never used.

    Args:
        checkpoint: folder of the checkpoint; that of another program has no position, and is accepted.
        position: the position of this run.
    """
    if not (checkpoint / POSITION_FILE).exists():
        return
    try:
        before = read_json(checkpoint / POSITION_FILE)
    except ValueError:
        message = f"{checkpoint / POSITION_FILE} cannot be read; remove it to resume without comparing the order"
        yield Problem("arguments.resume_from_checkpoint", message)
        return
    changed = [name for name in position if name in before and before[name] != position[name]]
    for name in changed:
        values = f"used {name} {_shown(before[name])}, and this run uses {_shown(position[name])}"
        yield Problem("arguments.resume_from_checkpoint", f"{checkpoint} {values}; the order of rows would change")
    if {"batch_sampler", "train_sampling_strategy"} & set(changed):
        return  # the other differences follow from the sampler
    for name in sorted(position.keys() ^ (before.keys() - {"format"})):
        values = f"{name} is {_shown(before.get(name))} there and {_shown(position.get(name))} here"
        yield Problem("arguments.resume_from_checkpoint", f"{checkpoint} has another order of rows: {values}")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{name} {digest[:12]}" for name, digest in value)
    return "nothing" if value is None else str(value)
