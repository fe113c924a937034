"""The output folder of a step: what lies where in it, and who may write there."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedstep.errors import CannotStartError, Problem, RefusedError

LOCK = ".embedstep.lock"
_FILES = ("request", "plan", "progress", "result", "error")
_NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Paths of one output folder."""

    path: Path

    @property
    def request(self) -> Path:
        """The resolved request and its fingerprint."""
        return self.path / "request.json"

    @property
    def plan(self) -> Path:
        """The training plan that the worker is held to."""
        return self.path / "plan.json"

    @property
    def progress(self) -> Path:
        """How far the training is, rewritten at each log."""
        return self.path / "progress.json"

    @property
    def metrics(self) -> Path:
        """Every logged metric with its train step, a JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the trainer's checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """Folder of the finished model; there only when it was verified."""
        return self.path / "model"

    @property
    def data(self) -> Path:
        """Folder of the prepared rows."""
        return self.path / "data"

    @property
    def attempt(self) -> Path:
        """Folder of what the processes of one attempt tell each other."""
        return self.path / "attempt"

    @property
    def result(self) -> Path:
        """How the step ended."""
        return self.path / "result.json"

    @property
    def error(self) -> Path:
        """The first thing that went wrong; absent after a success."""
        return self.path / "error.json"

    @property
    def ledger(self) -> Path:
        """The plan's ledger by itself, for the tracker."""
        return self.attempt / "ledger.json"

    @property
    def tracking(self) -> Path:
        """Which MLflow run this attempt opened."""
        return self.attempt / "tracking.json"


@contextmanager
def claimed(path: Path, *, overwrite: bool) -> Iterator[OutputFolder]:
    """Hold the output folder for one attempt, cleared of what an attempt before left.

    Args:
        path: the folder; made when missing.
        overwrite: clear a finished model too.

    Raises:
        RefusedError: the folder is a file, belongs to something else, is held by another attempt, or holds a
            finished model that `overwrite` does not allow to replace.
        CannotStartError: the disk does not let us write.
    """
    folder = OutputFolder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(path)
        with _locked(path / LOCK):
            if folder.model.exists() and not overwrite:
                raise _refused(f"{path} holds a finished model; add --overwrite, or choose another folder")
            _clear(folder)
            folder.attempt.mkdir()
            yield folder
    except OSError as error:
        raise _as_ours(path, error) from error


def _as_ours(path: Path, error: OSError) -> Exception:
    reason = os.strerror(error.errno or 0).lower()
    if error.errno in _NO_PLACE:
        return CannotStartError(f"{path} cannot be written: {reason}")
    return _refused(f"{path} cannot be used: {reason}; choose another folder with --output")


def _refused(message: str) -> RefusedError:
    return RefusedError([Problem("output", message)])


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Hold an advisory lock that the kernel releases with the process, however it ends."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise _refused(f"{lock.parent} is in use by another step; choose another folder") from None
    finally:
        os.close(descriptor)


def _refuse_foreign(path: Path) -> None:
    """Refuse a folder that has files and never was an output folder: clearing it would lose somebody's work."""
    content = sorted(entry.name for entry in path.iterdir())
    if content and LOCK not in content:
        shown = ", ".join(content[:3])
        raise _refused(f"{path} holds other files ({shown}); choose an empty or a new folder")


def _clear(folder: OutputFolder) -> None:
    """Remove what an earlier attempt left, so that nothing old can be taken for this attempt's."""
    for name in _FILES:
        (folder.path / f"{name}.json").unlink(missing_ok=True)
    folder.metrics.unlink(missing_ok=True)
    aside = folder.path / "model.partial"
    for inner in (folder.checkpoints, folder.model, aside, folder.data, folder.attempt):
        if inner.exists():
            shutil.rmtree(inner)
