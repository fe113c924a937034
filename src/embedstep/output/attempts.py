"""The cost of a step: process hours of all its attempts, also the failed ones."""

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
    """One attempt at a step.

    Attributes:
        started: start time in UTC, as ISO 8601.
        processes: number of processes that trained together.
        device: device of each process.
        seconds: wall time from the start of the step to the end of its processes.
        exit_code: exit code; None while the attempt is running and after it was killed.
    """

    started: str
    processes: int
    device: Literal["GPU", "CPU"]
    seconds: float = 0.0
    exit_code: int | None = None

    @property
    def hours(self) -> float:
        """Hours of all processes in total."""
        return self.seconds * self.processes / HOUR


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts at one step, in a file of its output folder.

    Attributes:
        file: the file.
        heartbeat: file that an attempt rewrites while it is running; its time shows how long a killed one ran.
    """

    file: Path
    heartbeat: Path

    def begin(self, *, processes: int, on_cpu: bool, resumes: bool = False) -> None:
        """Add an attempt before it starts. The first one after a success starts a new list.

        An attempt that resumes never starts one: the attempt before may have been killed after its success.
        """
        before = self.read()
        if before and before[-1].exit_code is None:
            before[-1] = self._as_killed(before[-1])
        if before and before[-1].exit_code == OK and not resumes:
            before = []
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write([*before, Attempt(started=now, processes=processes, device="CPU" if on_cpu else "GPU")])

    def end(self, *, seconds: float, exit_code: int) -> Mapping[str, Any]:
        """Complete the last attempt, and return the cost of all attempts."""
        *before, last = self.read()
        found = [*before, replace(last, seconds=round(seconds, 3), exit_code=exit_code)]
        self._write(found)
        return total_cost(found)

    def read(self) -> list[Attempt]:
        """Return the attempts in order; none if the file is damaged."""
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
        last = self.heartbeat.stat().st_mtime if self.heartbeat.exists() else began
        return replace(attempt, seconds=round(max(min(last, time.time()) - began, 0.0), 3))


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerRun:
    """A successful run in the past.

    Attributes:
        train_steps: number of its train steps.
        hours: process hours of the attempt with these steps.
        is_of_same_rows: whether it had the same training rows.
    """

    train_steps: int
    hours: float
    is_of_same_rows: bool


def cost_metric(unit: str) -> str:
    """Return the name of the metric of a unit of cost: `gpu_hours` or `process_hours`."""
    return unit.lower().replace("-", "_")


def cost_unit(*, on_cpu: bool) -> str:
    """Return the unit of cost."""
    return "process-hours" if on_cpu else "GPU-hours"


def total_cost(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Return the cost of attempts: `unit`, `hours`, of these `lost_hours`, and the `attempts` with their hours.

    Lost are the hours of all attempts but the successful one, even if that has resumed from one of their checkpoints.
    """
    return {
        "unit": cost_unit(on_cpu=not attempts or attempts[-1].device == "CPU"),
        "hours": round(sum(one.hours for one in attempts), 6),
        "lost_hours": round(sum(one.hours for one in attempts if one.exit_code != OK), 6),
        "attempts": [{**asdict(one), "hours": round(one.hours, 6)} for one in attempts],
    }
