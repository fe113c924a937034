"""What a step has cost: hours of its processes, attempt by attempt, those included that came to nothing."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from embedstep.errors import OK
from embedstep.output.result import read_json, write_json

HOUR = 3600
"""Seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try at a step.

    Attributes:
        started: when, in UTC, as ISO 8601.
        processes: processes that trained together.
        device: what each of them computed on.
        seconds: wall time from the start of the step to the end of its processes.
        exit_code: code of the outcome contract; None while it runs, and for ever where it was killed.
    """

    started: str
    processes: int
    device: Literal["GPU", "CPU"]
    seconds: float = 0.0
    exit_code: int | None = None

    @property
    def hours(self) -> float:
        """Hours of all processes together."""
        return self.seconds * self.processes / HOUR


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts at one step, in a file of its output folder.

    Attributes:
        file: the file.
        last_sign: file that an attempt rewrites while it runs, by which one that was killed is known to have lived.
    """

    file: Path
    last_sign: Path

    def begin(self, *, processes: int, on_cpu: bool, resumes: bool = False) -> None:
        """Write an attempt down before it costs anything; after one that ended well, the count begins anew.

        One that goes on from a checkpoint belongs to those before: the last may have been killed while it was recorded.
        """
        before = self.read()
        if before and before[-1].exit_code is None:
            before[-1] = self._as_killed(before[-1])
        if before and before[-1].exit_code == OK and not resumes:
            before = []
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write([*before, Attempt(started=now, processes=processes, device="CPU" if on_cpu else "GPU")])

    def end(self, *, seconds: float, exit_code: int) -> Mapping[str, Any]:
        """Write down how the attempt has ended, and return what all of them have cost."""
        *before, last = self.read()
        found = [*before, replace(last, seconds=round(seconds, 3), exit_code=exit_code)]
        self._write(found)
        return cost_of(found)

    def read(self) -> list[Attempt]:
        """Return the attempts, the first one first; none where the file is damaged."""
        try:
            found = [Attempt(**item) for item in read_json(self.file)] if self.file.exists() else []
            for attempt in found:
                datetime.fromisoformat(attempt.started)
            return found
        except (ValueError, TypeError):
            return []

    def _write(self, attempts: Sequence[Attempt]) -> None:
        write_json(self.file, [asdict(one) for one in attempts])

    def _as_killed(self, attempt: Attempt) -> Attempt:
        began = datetime.fromisoformat(attempt.started).timestamp()
        last = self.last_sign.stat().st_mtime if self.last_sign.exists() else began
        return replace(attempt, seconds=round(max(min(last, time.time()) - began, 0.0), 3))


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerRun:
    """A run that has ended well.

    Attributes:
        train_steps: steps that it has made.
        hours: hours of all processes of the attempt that has made them.
        is_of_same_rows: it had the same training rows.
    """

    train_steps: int
    hours: float
    is_of_same_rows: bool


def cost_metric(unit: str) -> str:
    """Return what a unit of cost is called as a metric: `gpu_hours` or `process_hours`."""
    return unit.lower().replace("-", "_")


def unit_of(*, on_cpu: bool) -> str:
    """Return what hours of processes are hours of."""
    return "process-hours" if on_cpu else "GPU-hours"


def cost_of(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Return the hours of attempts: `unit`, `hours`, of them `lost_hours`, and `attempts` one by one.

    Lost are the hours of all attempts but the one that ended well; an attempt that goes on from a checkpoint has used
    a part of them.
    """
    return {
        "unit": unit_of(on_cpu=not attempts or attempts[-1].device == "CPU"),
        "hours": round(sum(one.hours for one in attempts), 6),
        "lost_hours": round(sum(one.hours for one in attempts if one.exit_code != OK), 6),
        "attempts": [{**asdict(one), "hours": round(one.hours, 6)} for one in attempts],
    }
