"""A job runs in a process of its own, and its result, its refusal or its failure comes back."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import CannotStartError, InvalidRequestError, Problem, StepInterruptedError, TrainingFailedError
from embedstep.output import job
from embedstep.output.job import run_job, serve_job
from embedstep.runtime.process import LaunchCommand, ProcessEnd


def serve(monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    """Do the jobs in this process, where the real one starts another."""

    def served(plan: LaunchCommand) -> ProcessEnd:
        return ProcessEnd(code=serve_job(work, Path(plan.argv[-1])))

    monkeypatch.setattr(job, "run_process", served)


def test_a_result_comes_back_even_with_nan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(monkeypatch, lambda wanted, folder: {"sum": sum(wanted["values"]), "loss": math.nan, "in": str(folder)})
    found = run_job("score", {"values": [1, 2]}, tmp_path / "deep" / "job", title="mining", error=TrainingFailedError)
    assert (found["sum"], math.isnan(found["loss"]), found["in"]) == (3, True, str(tmp_path / "deep" / "job"))


@pytest.mark.parametrize(
    "error",
    [InvalidRequestError([Problem("model.path", "is wrong"), Problem("", "odd")]), CannotStartError("no answer")],
)
def test_a_refusal_comes_back_as_the_same_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def refuse(wanted: dict[str, Any], folder: Path) -> None:
        raise error

    serve(monkeypatch, refuse)
    with pytest.raises(type(error)) as caught:
        run_job("mine", {}, tmp_path, title="mining", error=TrainingFailedError)
    assert str(caught.value) == str(error)


@pytest.mark.parametrize(
    ("end", "error"),
    [(ProcessEnd(code=-9), TrainingFailedError), (ProcessEnd(code=0, signalled=15), StepInterruptedError)],
)
def test_a_crash_is_the_caller_s_error_and_a_signal_an_interruption(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: ProcessEnd, error: type[Exception]
) -> None:
    monkeypatch.setattr(job, "run_process", lambda plan: end)
    with pytest.raises(error):
        run_job("mine", {"a": 1}, tmp_path, title="mining", error=TrainingFailedError)
    assert json.loads((tmp_path / "job.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("shows_progress", [False, True])
def test_progress_bars_are_hidden_unless_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shows_progress: bool
) -> None:
    started: list[LaunchCommand] = []

    def run(plan: LaunchCommand) -> ProcessEnd:
        started.append(plan)
        (tmp_path / "result.json").write_text("null")
        return ProcessEnd(code=0)

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(job, "run_process", run)
    assert (
        run_job("fetch", {}, tmp_path, title="fetching", error=CannotStartError, shows_progress=shows_progress) is None
    )
    assert ("TQDM_DISABLE" in started[0].env) != shows_progress
    assert started[0].argv[1:] == ("-m", "embedstep.worker.jobs.fetch", str(tmp_path))
