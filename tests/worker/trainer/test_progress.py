"""What a training shows and writes while it runs, also where one step takes long."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedstep.runtime.log import LOG_VARIABLE
from embedstep.worker.trainer import progress
from embedstep.worker.trainer.progress import TrainingProgress

PLAN: Any = SimpleNamespace(train_steps=66, global_batch_size=8)


def wait_for_line(capsys: pytest.CaptureFixture[str], begin: str) -> str:
    deadline, said = time.monotonic() + 10, ""
    while time.monotonic() < deadline:
        said += capsys.readouterr().err
        if found := [line for line in said.splitlines() if line.startswith(begin)]:
            return found[0]
        time.sleep(0.01)
    raise AssertionError(said)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TICK", "_SILENCE_SECONDS", "_FILE_SECONDS", "_LINE_SECONDS"):
        monkeypatch.setattr(progress, name, 0.02)


def test_a_long_step_says_where_the_training_is(
    impatient: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = TrainingProgress(tmp_path / "progress.json", PLAN)
    shown.read_loss = lambda: 2.5
    assert wait_for_line(capsys, "start, for 0 s  ").endswith("B memory")
    shown.begin(0)
    time.sleep(0.03)
    shown.reach(12)
    line = wait_for_line(capsys, "step 12/66")
    assert line.startswith("step 12/66  loss 2.5000  ")
    assert " rows/s  about " in line
    assert " left  " in line
    shown.activity = "evaluation"
    assert wait_for_line(capsys, "step 12/66  evaluation, for 0 s")
    shown.close()
    found = json.loads((tmp_path / "progress.json").read_text())
    assert (found["train_step"], found["train_steps"], found["activity"], found["loss"]) == (12, 66, "evaluation", 2.5)


def test_the_file_is_written_while_a_step_takes_long(impatient: None, tmp_path: Path) -> None:
    shown = TrainingProgress(tmp_path / "progress.json", PLAN)
    shown.begin(0)
    before = json.loads((tmp_path / "progress.json").read_text())["seconds"]
    deadline = time.monotonic() + 10
    while json.loads((tmp_path / "progress.json").read_text())["seconds"] == before and time.monotonic() < deadline:
        time.sleep(0.01)
    shown.close()
    assert json.loads((tmp_path / "progress.json").read_text())["seconds"] > before


def test_of_many_logs_some_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = TrainingProgress(tmp_path / "progress.json", PLAN)
    for number in range(1000):
        shown.log(f"log {number}")
    shown.show("the end")
    shown.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [*(f"log {number}" for number in range(20)), "the end"]


@pytest.mark.parametrize("is_shown", [True, False])
def test_only_the_first_rank_shows_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str], is_shown: bool) -> None:
    shown = TrainingProgress(tmp_path / "progress.json", PLAN, is_shown=is_shown)
    shown.show("here")
    shown.close()
    assert capsys.readouterr().err == ("here\n" if is_shown else "")


@pytest.mark.parametrize(("form", "bar"), [("text", True), ("lines", False), ("json", False), ("quiet", False)])
def test_a_bar_is_for_people_at_a_terminal(monkeypatch: pytest.MonkeyPatch, form: str, bar: bool) -> None:
    monkeypatch.setenv(LOG_VARIABLE, form)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert progress._make_bar(3).disable is not bar
