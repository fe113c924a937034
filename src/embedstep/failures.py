"""The first cause of a failed attempt, from what its processes left behind.

A rank that raises writes its exception down; a rank that was killed leaves only the code that torchrun saw. The ranks
beside it then fail too, with a broken connection, so a kill comes before any exception, and the first exception
before all that follow.
"""

import os
import signal
from typing import Any

from embedstep.errors import (
    CANNOT_START,
    FAILED,
    INTERRUPTED,
    OK,
    EmbedstepError,
    RefusedError,
    StepInterruptedError,
    signal_name,
)
from embedstep.launch.process import ProcessEnd
from embedstep.output import OutputFolder
from embedstep.result import Failure, failure_from_json, read_json
from embedstep.secrets import redact


def failure_of(error: EmbedstepError) -> Failure:
    """Describe an error that was raised before any rank ran."""
    return Failure(
        kind=type(error).__name__,
        message=redact(str(error), os.environ),
        exit_code=error.exit_code,
        problems=problems_told(error),
    )


class AttemptFailedError(EmbedstepError):
    """An attempt that was made for something else has failed; it ends in the same code."""

    def __init__(self, failure: Failure) -> None:
        super().__init__("; ".join(failure.problems) or failure.message)
        self.exit_code = failure.exit_code  # type: ignore[misc]


def problems_told(error: BaseException) -> tuple[str, ...]:
    """Return the problems of a refusal as they may be written down, without secrets; other errors have none."""
    problems = error.problems if isinstance(error, RefusedError) else ()
    return tuple(redact(str(problem), os.environ) for problem in problems)


def first_failure(folder: OutputFolder, end: ProcessEnd) -> Failure:
    """Say what went wrong first in an attempt whose processes have ended."""
    if end.signalled is not None:
        return failure_of(StepInterruptedError(end.signalled))
    ranks = read_json(folder.attempt / "ranks.json") if (folder.attempt / "ranks.json").exists() else []
    return _killed(ranks) or _raised(folder) or _unexplained(end, ranks)


def _killed(ranks: list[dict[str, Any]]) -> Failure | None:
    """Find a rank that a signal ended, other than the SIGTERM by which torchrun ends the ones left over."""
    for rank in ranks:
        if rank["exit_code"] < 0 and rank["exit_code"] != -signal.SIGTERM:
            name = signal_name(-rank["exit_code"])
            hint = ": most often the host had no memory left" if name == "SIGKILL" else ""
            return Failure(
                kind="signal",
                message=f"rank {rank['rank']} was killed by {name}{hint}",
                exit_code=FAILED,
                rank=rank["rank"],
            )
    return None


def _raised(folder: OutputFolder) -> Failure | None:
    """Read the exception of the rank that was first to write one."""
    first = folder.attempt / "first_rank"
    report = folder.attempt / f"rank-{first.read_text() if first.exists() else ''}.json"
    return failure_from_json(read_json(report)) if report.exists() else None


def _unexplained(end: ProcessEnd, ranks: list[dict[str, Any]]) -> Failure:
    if end.code == OK:
        return Failure(kind="no_model", message="the processes ended well and left no verified model", exit_code=FAILED)
    if ranks:
        code, rank = ranks[0]["exit_code"], ranks[0]["rank"]
        return Failure(kind="exit", message=f"rank {rank} ended with code {code}", exit_code=FAILED, rank=rank)
    if end.code == INTERRUPTED:
        # torchrun alone got the signal, as when a node is drained process by process.
        return failure_of(StepInterruptedError(signal.SIGTERM))
    if end.code < 0:
        name = signal_name(-end.code)
        return Failure(kind="signal", message=f"torchrun was killed by {name}", exit_code=FAILED)
    return Failure(
        kind="start",
        message="the processes could not be started; torchrun's own words are above",
        exit_code=CANNOT_START,
    )
