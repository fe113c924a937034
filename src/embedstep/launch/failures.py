"""The first cause of a failed attempt, from what its processes left behind.

A rank that raises writes its exception down; a rank that was killed leaves only the code that torchrun saw. The ranks
beside it then fail too, with a broken connection, so a kill comes before any exception, and the first exception
before all that follow. What torchrun's wrapper itself says comes before a rank's word that a peer is gone.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedstep.errors import (
    CANNOT_START,
    FAILED,
    INTERRUPTED,
    OK,
    OUT_OF_MEMORY,
    EmbedstepError,
    InvalidRequestError,
    StepInterruptedError,
    signal_name,
)
from embedstep.output.folder import OutputFolder
from embedstep.output.result import Failure, failure_from_json, read_json
from embedstep.runtime.process import ProcessEnd
from embedstep.runtime.secrets import redact

NO_ANSWER = "NoAnswer"
"""Kind of a failure of a rank that has waited for others for longer than it may."""
TORCHRUN = "torchrun.json"
"""What the wrapper of torchrun says itself, in the folder of the attempt."""


def failure_from_error(error: EmbedstepError) -> Failure:
    """Describe an error that was raised before any rank ran."""
    return Failure(
        kind=type(error).__name__,
        message=redact(str(error), os.environ),
        exit_code=error.exit_code,
        problems=redacted_problems(error),
    )


class RunFailedError(EmbedstepError):
    """An attempt that was made for something else has failed; it ends in the same code."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("; ".join(failure.problems) or failure.message)
        self.exit_code = failure.exit_code  # type: ignore[misc]


def redacted_problems(error: BaseException) -> tuple[str, ...]:
    """Return the problems of a refusal as they may be written down, without secrets; other errors have none."""
    problems = error.problems if isinstance(error, InvalidRequestError) else ()
    return tuple(redact(str(problem), os.environ) for problem in problems)


def first_failure(folder: OutputFolder, end: ProcessEnd) -> Failure:
    """Say what went wrong first in an attempt whose processes have ended."""
    raised, words = _raised(folder), _words(folder)
    if end.signalled is not None:
        return _interrupted(end.signalled, words, raised)
    ranks = [rank for file in folder.attempt.glob("ranks-*.json") for rank in read_json(file)]
    ranks.sort(key=lambda rank: rank["time"])
    is_of_peer = raised is None or (raised.exit_code == INTERRUPTED and raised.kind != StepInterruptedError.__name__)
    killed = _killed(ranks)
    if raised is not None and raised.kind == NO_ANSWER and (killed is None or killed.exit_code != OUT_OF_MEMORY):
        return raised  # torchrun kills the one that does not answer
    return (
        killed
        or (_left(ranks, folder) if is_of_peer else None)
        or (words if words and is_of_peer else _of_worker(raised, ranks))
        or _unexplained(end, ranks)
    )


def _interrupted(number: int, words: Failure | None, raised: Failure | None) -> Failure:
    """Say where a signal has ended the attempt, and what has gone wrong in the time that it had to save."""
    if raised is not None and raised.exit_code != INTERRUPTED:
        message = f"interrupted by {signal_name(number)}, and meanwhile: {raised.message}"
        return replace(raised, exit_code=INTERRUPTED, message=message)
    said = (item for item in (words, raised) if item and item.kind == StepInterruptedError.__name__)
    return next(said, failure_from_error(StepInterruptedError(number)))


def _killed(ranks: list[dict[str, Any]]) -> Failure | None:
    """Find a rank that a signal ended, other than the SIGTERM by which torchrun ends the ones left over."""
    for rank in ranks:
        if rank["exit_code"] < 0 and rank["exit_code"] != -signal.SIGTERM:
            name = signal_name(-rank["exit_code"])
            no_memory = rank.get("no_memory", "") if name == "SIGKILL" else ""
            hint = ": most often the host had no memory left" if name == "SIGKILL" else ""
            code = OUT_OF_MEMORY if no_memory else FAILED
            return _of_rank(rank, "signal", f"was killed by {name}{no_memory or hint}", code)
    return None


def _left(ranks: list[dict[str, Any]], folder: OutputFolder) -> Failure | None:
    """Find a rank that ended with a code of its own where the others only missed it, and tell what it has said."""
    for rank in ranks:
        if rank["exit_code"] > 0 and rank["exit_code"] != INTERRUPTED:
            if (report := _report(folder, rank["rank"])).exists():
                return failure_from_json(read_json(report))
            return _of_rank(rank, "exit", f"ended with code {rank['exit_code']}", FAILED)
    return None


def _of_worker(raised: Failure | None, ranks: list[dict[str, Any]]) -> Failure | None:
    """Say that it was the memory where the kernel has ended no rank, but a worker of its loader, which it misses."""
    no_memory = next((rank["no_memory"] for rank in ranks if rank.get("no_memory")), "")
    if raised is None or raised.exit_code != FAILED or not no_memory:
        return raised
    return replace(raised, exit_code=OUT_OF_MEMORY, message=f"{raised.message.rstrip()}{no_memory}")


def _of_rank(rank: dict[str, Any], kind: str, message: str, code: int) -> Failure:
    """Describe how a rank ended, by what torchrun's wrapper has seen of it."""
    return Failure(
        kind=kind,
        message=f"rank {rank['rank']} {message}",
        exit_code=code,
        rank=rank["rank"],
        host=rank.get("host", ""),
        log=tuple(rank.get("log", ())),
    )


def _words(folder: OutputFolder) -> Failure | None:
    """Read what the wrapper of torchrun says itself."""
    file = folder.attempt / TORCHRUN
    return failure_from_json(read_json(file)) if file.exists() else None


def _raised(folder: OutputFolder) -> Failure | None:
    """Read the exception of the rank that was first to write one."""
    first = folder.attempt / "first_rank"
    report = _report(folder, first.read_text() if first.exists() else "")
    if not report.exists():
        return None
    failure = failure_from_json(read_json(report))
    return _naming_silent(folder, failure) if failure.kind == NO_ANSWER else failure


def _naming_silent(folder: OutputFolder, failure: Failure) -> Failure:
    """Say for whom was waited: those that have not said that they have waited, too."""
    ranks = range(read_json(folder.plan)["world_size"])
    silent = [f"rank {rank}" for rank in ranks if not _report(folder, rank).exists()]
    if not silent:
        return failure
    message = f"{' and '.join(silent)} did not answer for as long as arguments.ddp_timeout allows: {failure.message}"
    return replace(failure, message=message)


def _report(folder: OutputFolder, rank: int | str) -> Path:
    """Return where a rank that has raised writes its exception down."""
    return folder.attempt / f"rank-{rank}.json"


def _unexplained(end: ProcessEnd, ranks: list[dict[str, Any]]) -> Failure:
    if end.code == OK:
        return Failure(kind="no_model", message="the processes ended well and left no verified model", exit_code=FAILED)
    if ranks or end.code in (INTERRUPTED, -signal.SIGTERM):
        # A process alone got the signal before it could hear it, as when a node is drained process by process.
        return failure_from_error(StepInterruptedError(signal.SIGTERM))
    if end.code < 0:
        name = signal_name(-end.code)
        return Failure(kind="signal", message=f"torchrun was killed by {name}", exit_code=FAILED)
    return Failure(
        kind="start",
        message="the processes could not be started; torchrun's own words are above",
        exit_code=CANNOT_START,
    )
