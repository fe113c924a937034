"""The first cause of a failed attempt, from the files that its processes left.

A rank that raises saves its exception; of a killed rank there is only the exit code that torchrun saw. Its peers then
fail with a broken connection. So a kill ranks before any exception, the first exception before later ones, and what
torchrun's wrapper reports before a rank's report that a peer is gone.
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
    DivergedError,
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
"""Kind of the failure of a rank that has waited too long for others."""
TORCHRUN = "torchrun.json"
"""File in the folder of the attempt with the failure that torchrun's wrapper itself reports."""


_RETRYABLE_CODES = frozenset({FAILED, INTERRUPTED})
"""Exit codes after which a restart may help: a lost rank or node, an exception of a rank, a GPU error."""
_NEVER_RETRIED = frozenset({DivergedError.__name__, StepInterruptedError.__name__})
"""Kinds of failures with one of these codes that a restart does not help."""


def is_retryable(failure: Failure | None) -> bool:
    """Whether a restart may help: a training that diverged would diverge again, an interrupted one was to end."""
    return failure is not None and failure.exit_code in _RETRYABLE_CODES and failure.kind not in _NEVER_RETRIED


def failure_from_error(error: EmbedstepError) -> Failure:
    """Return the failure for an error that was raised before any rank ran, without secrets."""
    return Failure(
        kind=type(error).__name__,
        message=redact(str(error), os.environ),
        exit_code=error.exit_code,
        problems=redacted_problems(error),
    )


class RunFailedError(EmbedstepError):
    """A training that another task needed has failed; that task ends with the same exit code."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("; ".join(failure.problems) or failure.message)
        self.exit_code = failure.exit_code  # type: ignore[misc]


def redacted_problems(error: BaseException) -> tuple[str, ...]:
    """Return the problems of an invalid request without secrets; other errors have none."""
    problems = error.problems if isinstance(error, InvalidRequestError) else ()
    return tuple(redact(str(problem), os.environ) for problem in problems)


def first_failure(folder: OutputFolder, end: ProcessEnd) -> Failure:
    """Return what failed first in an attempt whose processes have ended."""
    raised, wrapper = _read_first_exception(folder), _read_wrapper_failure(folder)
    if end.signalled is not None:
        return _explain_signal(end.signalled, wrapper, raised)
    ranks = [rank for file in folder.attempt.glob("ranks-*.json") for rank in read_json(file)]
    ranks.sort(key=lambda rank: rank["time"])
    is_of_peer = raised is None or (raised.exit_code == INTERRUPTED and raised.kind != StepInterruptedError.__name__)
    killed = _find_killed(ranks)
    if raised is not None and raised.kind == NO_ANSWER and (killed is None or killed.exit_code != OUT_OF_MEMORY):
        return raised  # torchrun kills the rank that does not answer
    return (
        killed
        or (_find_exited(ranks, folder) if is_of_peer else None)
        or (wrapper if wrapper and is_of_peer else _blame_memory(raised, ranks))
        or _explain_exit(end, ranks)
    )


def _explain_signal(number: int, wrapper: Failure | None, raised: Failure | None) -> Failure:
    """Return where a signal has ended the attempt, and any failure in the time that it had to save."""
    if raised is not None and raised.exit_code != INTERRUPTED:
        message = f"interrupted by {signal_name(number)}, and meanwhile: {raised.message}"
        return replace(raised, exit_code=INTERRUPTED, message=message)
    reports = (item for item in (wrapper, raised) if item and item.kind == StepInterruptedError.__name__)
    return next(reports, failure_from_error(StepInterruptedError(number)))


def _find_killed(ranks: list[dict[str, Any]]) -> Failure | None:
    """Find a rank that was killed by a signal, other than the SIGTERM by which torchrun ends the remaining ones."""
    for rank in ranks:
        if rank["exit_code"] < 0 and rank["exit_code"] != -signal.SIGTERM:
            name = signal_name(-rank["exit_code"])
            no_memory = rank.get("no_memory", "") if name == "SIGKILL" else ""
            hint = ": usually because the host ran out of memory" if name == "SIGKILL" else ""
            code = OUT_OF_MEMORY if no_memory else FAILED
            return _rank_failure(rank, "signal", f"was killed by {name}{no_memory or hint}", code)
    return None


def _find_exited(ranks: list[dict[str, Any]], folder: OutputFolder) -> Failure | None:
    """Find a rank that exited by itself where the others only report that it is gone."""
    for rank in ranks:
        if rank["exit_code"] > 0 and rank["exit_code"] != INTERRUPTED:
            if (report := _report_file(folder, rank["rank"])).exists():
                return failure_from_json(read_json(report))
            return _rank_failure(rank, "exit", f"ended with code {rank['exit_code']}", FAILED)
    return None


def _blame_memory(raised: Failure | None, ranks: list[dict[str, Any]]) -> Failure | None:
    """Return out of memory as the cause where the kernel has killed not the rank, but one of its loader workers."""
    no_memory = next((rank["no_memory"] for rank in ranks if rank.get("no_memory")), "")
    if raised is None or raised.exit_code != FAILED or not no_memory:
        return raised
    return replace(raised, exit_code=OUT_OF_MEMORY, message=f"{raised.message.rstrip()}{no_memory}")


def _rank_failure(rank: dict[str, Any], kind: str, message: str, code: int) -> Failure:
    """Return the failure of a rank by what torchrun's wrapper has seen of it."""
    return Failure(
        kind=kind,
        message=f"rank {rank['rank']} {message}",
        exit_code=code,
        rank=rank["rank"],
        host=rank.get("host", ""),
        log=tuple(rank.get("log", ())),
    )


def _read_wrapper_failure(folder: OutputFolder) -> Failure | None:
    """Return what torchrun's wrapper itself reports."""
    file = folder.attempt / TORCHRUN
    return failure_from_json(read_json(file)) if file.exists() else None


def _read_first_exception(folder: OutputFolder) -> Failure | None:
    """Return the exception of the rank that saved one first."""
    first = folder.attempt / "first_rank"
    report = _report_file(folder, first.read_text() if first.exists() else "")
    if not report.exists():
        return None
    failure = failure_from_json(read_json(report))
    return _name_silent_ranks(folder, failure) if failure.kind == NO_ANSWER else failure


def _name_silent_ranks(folder: OutputFolder, failure: Failure) -> Failure:
    """Name the ranks that did not answer: those that have not reported a timeout themselves."""
    ranks = range(read_json(folder.plan)["world_size"])
    silent = [f"rank {rank}" for rank in ranks if not _report_file(folder, rank).exists()]
    if not silent:
        return failure
    message = f"{' and '.join(silent)} did not answer for as long as arguments.ddp_timeout allows: {failure.message}"
    return replace(failure, message=message)


def _report_file(folder: OutputFolder, rank: int | str) -> Path:
    """Return the file in which a rank saves its exception."""
    return folder.attempt / f"rank-{rank}.json"


def _explain_exit(end: ProcessEnd, ranks: list[dict[str, Any]]) -> Failure:
    if end.code == OK:
        return Failure(
            kind="no_model", message="the processes ended with code 0 and left no verified model", exit_code=FAILED
        )
    if ranks or end.code in (INTERRUPTED, -signal.SIGTERM):
        # A process got SIGTERM before it had a handler, as when a node is drained process by process.
        return failure_from_error(StepInterruptedError(signal.SIGTERM))
    if end.code < 0:
        name = signal_name(-end.code)
        return Failure(kind="signal", message=f"torchrun was killed by {name}", exit_code=FAILED)
    return Failure(
        kind="start",
        message="the processes could not be started; torchrun's output is above",
        exit_code=CANNOT_START,
    )
