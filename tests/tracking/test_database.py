"""One process at a time makes a local database."""

import fcntl
import os
from pathlib import Path

import pytest

from embedstep.errors import CannotStartError
from embedstep.tracking import database
from embedstep.tracking.database import sqlite_lock


def test_another_process_cannot_take_the_lock_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with sqlite_lock(f"sqlite:///{folder}/mlflow.db"):
        other = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_a_lock_that_is_not_released_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_TIMEOUT", 0.1)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with sqlite_lock(uri), pytest.raises(CannotStartError, match="locked"), sqlite_lock(uri):
        pass


@pytest.mark.parametrize("uri", ["http://mlflow:5000", "sqlite:///relative.db"])
def test_any_other_address_is_nothing_to_wait_for(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with sqlite_lock(uri), sqlite_lock(uri):
        assert list(tmp_path.iterdir()) == []
