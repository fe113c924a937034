import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.output.folder import LOCK, lock_output, lock_run_key
from tests.conftest import wait_for


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    with lock_output(tmp_path / "a" / "b", overwrite=False) as folder:
        assert folder.attempt.is_dir()


def test_what_a_failed_attempt_left_is_cleared(tmp_path: Path) -> None:
    for name in (LOCK, "request.json", "error.json", "result.json", "metrics.jsonl"):
        (tmp_path / name).write_text("old")
    (tmp_path / "checkpoints" / "checkpoint-10").mkdir(parents=True)
    (tmp_path / "attempt" / "data").mkdir(parents=True)
    with lock_output(tmp_path, overwrite=False) as folder:
        assert list(folder.attempt.iterdir()) == []
        folder.clear()
        assert {path.name for path in tmp_path.iterdir()} == {LOCK, "attempt"}


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with (
        pytest.raises(InvalidRequestError, match=r"holds other files \(thesis.tex\)"),
        lock_output(tmp_path, overwrite=True),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_finished_model_is_kept_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    (tmp_path / "model").mkdir()
    with (
        pytest.raises(InvalidRequestError, match="holds a finished model; add --overwrite"),
        lock_output(tmp_path, overwrite=False),
    ):
        pass
    assert (tmp_path / "model").exists()


def test_a_finished_model_stays_until_the_next_one_is_there(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    with lock_output(tmp_path, overwrite=True) as folder:
        folder.clear()
        assert (folder.model / "weights").read_text() == "old"
        folder.verified_model.mkdir()
        (folder.verified_model / "weights").write_text("new")
        folder.publish_model()
        assert (folder.model / "weights").read_text() == "new"
        assert list(folder.attempt.iterdir()) == []


def test_the_processes_of_a_step_hold_its_folder_when_the_step_itself_was_killed(tmp_path: Path) -> None:
    step = """
import pathlib, subprocess, sys
from embedstep.runtime.process import LaunchCommand
from embedstep.runtime.process import run_process
from embedstep.output.folder import lock_output
with lock_output(pathlib.Path(sys.argv[1]), overwrite=False) as folder:
    child = "import os; print(os.getpid(), flush=True); import time; time.sleep(60)"
    run_process(LaunchCommand(argv=(sys.executable, "-c", child), env={}, keep_open=(folder.lock,)))
"""
    process = subprocess.Popen([sys.executable, "-c", step, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    try:
        with pytest.raises(CannotStartError, match="is in use by another step"), lock_output(tmp_path, overwrite=True):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()
    wait_for(lambda: is_free(tmp_path))


def is_free(path: Path) -> bool:
    """Whether nobody holds the folder."""
    try:
        with lock_output(path, overwrite=False):
            return True
    except InvalidRequestError:
        return False


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    holder = """
import sys, time, pathlib
from embedstep.output.folder import lock_output
with lock_output(pathlib.Path(sys.argv[1]), overwrite=False):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(CannotStartError, match="is in use by another step"), lock_output(tmp_path, overwrite=True):
            pass
    finally:
        process.kill()
        process.communicate()
    with lock_output(tmp_path, overwrite=False):
        pass


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InvalidRequestError, match="cannot be used: file exists"),
        lock_output(tmp_path / "file", overwrite=False),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="/proc is Linux's")
def test_a_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises((InvalidRequestError, CannotStartError)), lock_output(Path("/proc/none"), overwrite=False):
        pass


def test_an_error_of_the_caller_goes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock_output(tmp_path, overwrite=False):
        raise KeyError
    assert any(tmp_path.iterdir())


def test_a_model_that_was_being_replaced_is_put_back(tmp_path: Path) -> None:
    """A kill between the two renames of `publish_model` has left no model by its name."""
    with lock_output(tmp_path, overwrite=False):
        (tmp_path / ".model.before").mkdir()
        (tmp_path / ".model.before" / "modules.json").write_text("[]")
    with pytest.raises(InvalidRequestError, match="holds a finished model"), lock_output(tmp_path, overwrite=False):
        pass
    assert (tmp_path / "model" / "modules.json").read_text() == "[]"
    assert not (tmp_path / ".model.before").exists()


def test_one_run_is_recorded_by_one_attempt_at_a_time() -> None:
    """Whatever folders they write to; and for runs without a key there is nothing to hold."""
    key = f"weekly-{os.getpid()}"
    with lock_run_key(key), lock_run_key(None), lock_run_key(None):
        with pytest.raises(CannotStartError, match=f"tracking.key {key} is in use by another step on this machine"):
            lock_run_key(key).__enter__()
        with lock_run_key(f"{key}-b"):
            pass
    with lock_run_key(key):
        pass
