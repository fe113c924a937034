"""Starts of the processes within one attempt: which ends are followed by another, and where that begins."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.runtime.process import LaunchCommand, ProcessEnd
from embedstep.worker import __main__ as worker
from tests.conftest import start_with

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
Start = Callable[[Path], ProcessEnd]
Script = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def starts(train_here: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Let the starts end in this way, one after the other, and those after them really train; give where each began."""
    began: list[dict[str, Any]] = []

    def script(*ends: Start) -> list[dict[str, Any]]:
        left = list(ends)

        def run_process(plan: LaunchCommand) -> ProcessEnd:
            began.append(json.loads((tmp_path / "output" / "attempt" / "start_from.json").read_text()))
            return (left.pop(0) if left else trained)(tmp_path / "output")

        start_with(monkeypatch, run_process)
        return began

    return script


def trained(output: Path) -> ProcessEnd:
    return ProcessEnd(code=worker.main([str(output)]))


def killed(output: Path) -> ProcessEnd:
    rank = {"rank": 0, "exit_code": -signal.SIGKILL, "time": 1, "host": "a"}
    (output / "attempt" / "ranks-0.json").write_text(json.dumps([rank]))
    return ProcessEnd(code=1)


def left(code: int) -> Start:
    def end(output: Path) -> ProcessEnd:
        failure = {"kind": "Error", "message": "the reason", "exit_code": code, "problems": [], "traceback": []}
        (output / "attempt" / "rank-0.json").write_text(json.dumps(failure))
        (output / "attempt" / "first_rank").write_text("0")
        return ProcessEnd(code=code)

    return end


def test_a_rank_that_was_killed_is_followed_by_another_start(
    train_here: Train, starts: Script, request_of: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    began = starts(killed, killed)
    result = train_here(request_of(launch={"max_restarts": 2}))
    assert (result.exit_code, result.restarts, len(began)) == (0, 2, 3)
    assert "rank 0 was killed by SIGKILL" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (left(2), 2),
        (left(3), 3),
        (left(4), 4),
        (lambda output: ProcessEnd(code=75, signalled=signal.SIGTERM), 75),
        (lambda output: ProcessEnd(code=-9, signalled=signal.SIGINT), 75),
    ],
    ids=["refused", "cannot start", "no memory", "SIGTERM", "a second Ctrl-C"],
)
def test_what_another_start_does_not_help_is_not_started_again(
    train_here: Train, starts: Script, request_of: Build, end: Start, code: int
) -> None:
    began = starts(end)
    result = train_here(request_of(launch={"max_restarts": 3}))
    assert (result.exit_code, result.restarts, len(began)) == (code, 0, 1)


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_another_start_resumes_from_the_checkpoint_of_its_own_attempt(
    train_here: Train, starts: Script, request_of: Build, resume: str, tmp_path: Path
) -> None:
    """Also where the attempt itself was to start over."""
    arguments = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    request = {**request_of(arguments=arguments, launch={"max_restarts": 1}), "resume": resume}

    def dies_at_the_end(output: Path) -> ProcessEnd:
        assert trained(output).code == 0
        (output / "attempt" / "result.json").unlink()
        return killed(output)

    began = starts(dies_at_the_end)
    result = train_here(request)
    assert (result.exit_code, result.restarts, result.train_steps) == (0, 1, 4)
    assert began[-1]["step"] == 4
    assert began[-1]["elapsed_seconds"] > 0
