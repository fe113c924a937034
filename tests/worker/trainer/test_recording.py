"""What a running training writes and shows."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.worker.trainer import progress
from embedstep.worker.trainer.resumable import ResumableTrainer

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read `metrics.jsonl`: one mapping for each log, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_values_that_are_not_finite_are_kept_as_text_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from embedstep.output.folder import OutputFolder
    from embedstep.tracking.spool import Spool
    from embedstep.worker.trainer.recording import Recorder

    class Plan:
        train_steps = 4
        global_batch_size = 8

    class State:
        global_step = 2

    recorder = Recorder(OutputFolder(tmp_path), Plan(), Spool(folder=None))  # type: ignore[arg-type]
    recorder.on_log(None, State(), None, {"loss": math.nan, "grad_norm": math.inf, "learning_rate": 0.1})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"train_step": 2, "loss": "nan", "grad_norm": "inf", "learning_rate": 0.1}
    ]
    assert recorder.metrics == {"learning_rate": 0.1}
    recorder.on_log(None, State(), None, {"loss": math.nan})
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if "check the" in line] == [
        "step 2: loss is nan; check the learning rate and the data",
        "step 2: grad_norm is inf; check the learning rate and the data",
    ]
    recorder.close()


def test_the_progress_is_written_while_it_trains(
    train_here: Train, request_of: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []
    log = ResumableTrainer.log

    def logs(trainer: ResumableTrainer, values: dict[str, Any], *arguments: Any) -> None:
        log(trainer, values, *arguments)
        seen.append(json.loads((tmp_path / "output" / "progress.json").read_text())["train_step"])

    monkeypatch.setattr(ResumableTrainer, "log", logs)
    monkeypatch.setattr(progress, "_FILE_SECONDS", 0.0)
    assert train_here(request_of(arguments={"max_steps": 6, "logging_steps": 2})).exit_code == 0
    assert seen[:3] == [2, 4, 6]


@pytest.mark.parametrize(("value", "has_colour"), [(None, True), ("", True), ("1", False)])
def test_no_color_turns_off_the_colour_of_the_progress_bar(
    monkeypatch: pytest.MonkeyPatch, value: str | None, has_colour: bool
) -> None:
    if value is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", value)
    assert progress._make_bar(4).console.no_color is not has_colour
