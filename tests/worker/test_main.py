"""The start of a rank: it waits for the plan once its libraries are imported, also to report that they cannot be."""

import json
import sys
import threading
from pathlib import Path

import pytest

from embedstep.launch.instructions import START_FILE
from embedstep.output.folder import OutputFolder
from embedstep.runtime.world import World
from embedstep.worker import __main__ as worker


@pytest.mark.parametrize("environ", [{}, {START_FILE: "start"}])
def test_a_rank_that_need_not_wait_does_not(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("start").touch()
    worker.wait_for_start(environ)


def test_a_library_that_cannot_be_imported_is_reported_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher clears the folder of the attempt while ranks import, and then lets them begin."""
    attempt, start = tmp_path / "output" / "attempt", tmp_path / "start"
    monkeypatch.setitem(sys.modules, "embedstep.worker.train", None)
    monkeypatch.setenv(START_FILE, str(start))
    monkeypatch.setattr(worker, "ignore_signals", lambda: None)
    reported_before: list[bool] = []

    def begin() -> None:
        reported_before.append(attempt.exists())
        attempt.mkdir(parents=True)
        start.touch()

    launcher = threading.Timer(0.2, begin)
    launcher.start()
    code = worker.main([str(tmp_path / "output")])
    launcher.join()
    assert reported_before == [False]
    failure = json.loads((attempt / "rank-0.json").read_text())
    assert code == failure["exit_code"]
    assert "embedstep.worker.train" in failure["message"]


@pytest.mark.parametrize(
    ("world", "line"),
    [
        (World(), "the training failed:"),
        (World(rank=1, local_rank=1, world_size=2, local_world_size=2), "rank 1 failed first:"),
    ],
)
def test_a_traceback_names_its_rank_where_there_are_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], world: World, line: str
) -> None:
    (tmp_path / "attempt").mkdir()
    assert worker._report(OutputFolder(tmp_path), world, ValueError("no")) == 1
    assert capsys.readouterr().err == f"{line}\nValueError: no\n"
    # A rank that fails later writes its file, and prints nothing.
    assert worker._report(OutputFolder(tmp_path), world, ValueError("no")) == 1
    assert capsys.readouterr().err == ""
