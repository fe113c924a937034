"""What trackers have recorded, read from their files."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from embedstep.output.result import StepResult

NEEDS_WANDB = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed (pip install wandb)")


def logged(result: StepResult) -> set[tuple[int, str]]:
    """Every metric that `metrics.jsonl` has, with its train step."""
    lines = [json.loads(line) for line in (Path(result.output) / "metrics.jsonl").read_text().splitlines()]
    return {(line["train_step"], name) for line in lines for name in line.keys() - {"train_step", "epoch"}}


def scalars(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield step and name of each scalar in the event files below a folder."""
    from tensorboardX.proto.event_pb2 import Event

    for file in folder.rglob("events.*"):
        data = file.read_bytes()
        while data:  # length, its checksum, the event, its checksum
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            yield from ((event.step, value.tag) for value in event.summary.value)
            data = data[16 + size :]


def history(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield train step and name of each metric in the offline runs below a folder."""
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    for file in folder.rglob("run-*.wandb"):
        store = DataStore()
        store.open_for_scan(str(file))
        records = [Record.FromString(data) for data in iter(store.scan_data, None)]
        store._fp.close()
        for record in records:  # the callback puts what is known at the end, such as train_runtime, in the summary
            items = [*record.history.item, *record.summary.update]
            values = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
            step = values.get("train_step", -1)
            yield from ((int(step), name) for name in values)
