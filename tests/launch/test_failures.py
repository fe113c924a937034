import json
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import (
    CANNOT_START,
    FAILED,
    INTERRUPTED,
    OUT_OF_MEMORY,
    REFUSED,
    CannotStartError,
    InvalidRequestError,
    Problem,
    TrainingFailedError,
)
from embedstep.launch.failures import NO_ANSWER, failure_from_error, first_failure
from embedstep.output.folder import OutputFolder
from embedstep.output.result import Failure
from embedstep.runtime.process import ProcessEnd


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """An output folder whose attempt left nothing yet."""
    (tmp_path / "attempt").mkdir()
    return OutputFolder(tmp_path)


def ranks(folder: OutputFolder, *ends: tuple[int, int]) -> None:
    """Leave what torchrun leaves: the rank and exit code of each process, the first to end first."""
    found = [{"rank": rank, "exit_code": code, "time": time} for time, (rank, code) in enumerate(ends)]
    (folder.attempt / "ranks-0.json").write_text(json.dumps(found))


def raised(folder: OutputFolder, rank: int, *, first: bool = False, **more: Any) -> Failure:
    """Leave what a rank leaves that raised."""
    values: dict[str, Any] = {"kind": "ValueError", "message": f"rank {rank} is wrong", "exit_code": FAILED, **more}
    failure = Failure(rank=rank, **values)
    (folder.attempt / f"rank-{rank}.json").write_text(json.dumps(asdict(failure)))
    if first:
        (folder.attempt / "first_rank").write_text(str(rank))
    return failure


def test_the_rank_that_was_first_to_raise_is_the_cause(folder: OutputFolder) -> None:
    raised(folder, 0, message="Connection closed by peer")
    cause = raised(folder, 1, first=True, traceback=("frame one\n", "frame two\n"))
    ranks(folder, (0, 1), (1, 1))
    assert first_failure(folder, ProcessEnd(code=1)) == cause


@pytest.mark.parametrize(
    ("kind", "code"),
    [("InvalidRequestError", REFUSED), ("CannotStartError", CANNOT_START), ("MemoryError", OUT_OF_MEMORY)],
)
def test_what_was_raised_keeps_its_code_and_its_problems(folder: OutputFolder, kind: str, code: int) -> None:
    cause = raised(folder, 0, first=True, kind=kind, exit_code=code, problems=("a: is wrong", "b: is missing"))
    ranks(folder, (0, code))
    assert first_failure(folder, ProcessEnd(code=1)) == cause


def test_a_kill_comes_before_any_exception(folder: OutputFolder) -> None:
    raised(folder, 0, first=True, message="Connection closed by peer")
    ranks(folder, (0, 1), (1, -signal.SIGKILL))
    assert first_failure(folder, ProcessEnd(code=1)) == Failure(
        kind="signal",
        message="rank 1 was killed by SIGKILL: usually because the host ran out of memory",
        exit_code=FAILED,
        rank=1,
    )


def test_only_sigkill_speaks_of_memory(folder: OutputFolder) -> None:
    ranks(folder, (2, -signal.SIGSEGV))
    assert first_failure(folder, ProcessEnd(code=1)) == Failure(
        kind="signal", message="rank 2 was killed by SIGSEGV", exit_code=FAILED, rank=2
    )


def test_of_two_kills_the_first_counts(folder: OutputFolder) -> None:
    ranks(folder, (3, -signal.SIGBUS), (0, -signal.SIGKILL))
    assert first_failure(folder, ProcessEnd(code=1)).rank == 3


def test_ranks_that_torchrun_ended_are_not_the_cause(folder: OutputFolder) -> None:
    cause = raised(folder, 1, first=True)
    ranks(folder, (0, -signal.SIGTERM), (1, 1), (2, -signal.SIGTERM))
    assert first_failure(folder, ProcessEnd(code=1)) == cause


def test_a_kill_after_torchrun_s_own_signals_is_found(folder: OutputFolder) -> None:
    ranks(folder, (0, -signal.SIGTERM), (1, -signal.SIGKILL))
    assert first_failure(folder, ProcessEnd(code=1)).rank == 1


def test_a_rank_that_left_without_a_word_is_named_with_its_code(folder: OutputFolder) -> None:
    ranks(folder, (1, 7), (0, 1))
    assert first_failure(folder, ProcessEnd(code=7)) == Failure(
        kind="exit", message="rank 1 ended with code 7", exit_code=FAILED, rank=1
    )


def test_a_good_end_without_a_model_is_a_failure(folder: OutputFolder) -> None:
    assert first_failure(folder, ProcessEnd(code=0)) == Failure(
        kind="no_model", message="the processes ended with code 0 and left no verified model", exit_code=FAILED
    )


def test_torchrun_itself_was_killed(folder: OutputFolder) -> None:
    assert first_failure(folder, ProcessEnd(code=-signal.SIGKILL)) == Failure(
        kind="signal", message="torchrun was killed by SIGKILL", exit_code=FAILED
    )


def test_no_process_was_started(folder: OutputFolder) -> None:
    assert first_failure(folder, ProcessEnd(code=1)) == Failure(
        kind="start",
        message="the processes could not be started; torchrun's output is above",
        exit_code=CANNOT_START,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("code", [0, 1, INTERRUPTED, -signal.SIGTERM])
def test_an_interruption_comes_before_everything_that_it_caused(
    folder: OutputFolder, number: signal.Signals, code: int
) -> None:
    ranks(folder, (0, 1), (1, -signal.SIGKILL))
    assert first_failure(folder, ProcessEnd(code=code, signalled=number)) == Failure(
        kind="StepInterruptedError",
        message=f"interrupted by {number.name}; the next attempt resumes from the last complete checkpoint, "
        "if there is one",
        exit_code=INTERRUPTED,
    )


def test_what_fails_in_the_time_to_save_is_reported_with_the_interruption(folder: OutputFolder) -> None:
    """A disk that is full then would otherwise be found by nobody, attempt after attempt."""
    raised(folder, 0, first=True)
    found = first_failure(folder, ProcessEnd(code=INTERRUPTED, signalled=signal.SIGTERM))
    assert (found.exit_code, found.rank, found.kind) == (INTERRUPTED, 0, "ValueError")
    assert found.message.startswith("interrupted by SIGTERM, and meanwhile: ")


def test_a_signal_to_torchrun_alone_is_an_interruption(folder: OutputFolder) -> None:
    raised(folder, 0)
    assert first_failure(folder, ProcessEnd(code=INTERRUPTED)).exit_code == INTERRUPTED


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            InvalidRequestError([Problem("model", "is missing"), Problem("", "is no mapping")]),
            Failure(
                kind="InvalidRequestError",
                message="model: is missing\nis no mapping",
                exit_code=REFUSED,
                problems=("model: is missing", "is no mapping"),
            ),
        ),
        (
            CannotStartError("mlflow is not installed"),
            Failure(kind="CannotStartError", message="mlflow is not installed", exit_code=CANNOT_START),
        ),
        (TrainingFailedError("nan"), Failure(kind="TrainingFailedError", message="nan", exit_code=FAILED)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_before_any_rank(error: CannotStartError, failure: Failure) -> None:
    assert failure_from_error(error) == failure


def test_an_error_before_any_rank_keeps_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_PASSWORD", "planted-password")
    assert failure_from_error(CannotStartError("no answer to planted-password")).message == "no answer to ***"


def test_a_worker_of_a_loader_that_had_no_memory_is_reported_as_such(folder: OutputFolder) -> None:
    """The kernel has ended no rank, and the one that misses its worker raises."""
    failure = raised(folder, 0, first=True, message="DataLoader worker (pid 7) is killed by signal: Killed. ")
    limit = ", because the memory limit was reached: 2.00 GB for all processes"
    left = [{"rank": 0, "exit_code": 1, "time": 0, "no_memory": limit}]
    (folder.attempt / "ranks-0.json").write_text(json.dumps(left))
    message = f"DataLoader worker (pid 7) is killed by signal: Killed.{limit}"
    assert first_failure(folder, ProcessEnd(code=1)) == replace(failure, exit_code=OUT_OF_MEMORY, message=message)


def test_a_rank_that_does_not_answer_is_named_though_torchrun_has_killed_it(folder: OutputFolder) -> None:
    folder.plan.write_text(json.dumps({"world_size": 4}))
    raised(folder, 0, first=True, kind=NO_ANSWER, exit_code=INTERRUPTED, message="Timed out waiting 8000ms")
    raised(folder, 2, kind=NO_ANSWER, exit_code=INTERRUPTED)
    ranks(folder, (0, INTERRUPTED), (1, -signal.SIGKILL), (3, -signal.SIGKILL))
    found = first_failure(folder, ProcessEnd(code=1))
    assert found.exit_code == INTERRUPTED
    assert found.message == (
        "rank 1 and rank 3 did not answer for as long as arguments.ddp_timeout allows: Timed out waiting 8000ms"
    )
