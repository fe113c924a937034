"""What a training that was cut has lost, compared with one that was not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BY_THE_CLOCK = ("_runtime", "_per_second")


def lost(whole: Path, cut: Path, *, resumed: bool = False) -> list[str]:
    """Say what the cut training has not: the weights, to the bit, and every logged number, once and at its step.

    Args:
        whole: output folder of the training that was not cut.
        cut: that of the one that was.
        resumed: steps that were made before the cut are not made again, nor are all of them.
    """
    found = []
    if resumed and _result(cut)["train_steps"] >= _result(whole)["train_steps"]:
        found.append("all steps, which were made again")
    if _result(cut)["weights_sha256"] != _result(whole)["weights_sha256"]:
        found.append("weights")
    here, there = list(logged(cut)), list(logged(whole))
    if here != there:
        missing, more = _shown(there, here), _shown(here, there)
        found.append(f"logs (missing {missing}, more {more}, {len(here)} of {len(there)})")
    if _result(cut)["alarms"] != _result(whole)["alarms"]:
        found.append(f"alarms ({_result(cut)['alarms']} and not {_result(whole)['alarms']})")
    if left := [path.name for path in (cut / "checkpoints").glob("_writing*")]:
        found.append(f"left over: {left}")
    return found


def _shown(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[list[str]]:
    """Name what one has and the other has not, by its first three words."""
    return [[f"{key}={value}" for key, value in line.items()][:3] for line in some if line not in others]


def logged(output: Path) -> Iterator[dict[str, Any]]:
    """Yield what was logged, but for what the clock decides."""
    for line in (output / "metrics.jsonl").read_text().splitlines():
        numbers = json.loads(line)
        yield {key: value for key, value in numbers.items() if not key.endswith(_BY_THE_CLOCK)}


def _result(output: Path) -> Any:
    return json.loads((output / "result.json").read_text())
