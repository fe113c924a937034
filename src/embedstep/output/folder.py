"""The output folder of a step: what lies where in it, and who may write there."""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from embedstep.errors import CannotStartError, InvalidRequestError, Problem
from embedstep.output.checkpoints import STAGING_DIR, checkpoints_in

LOCK = ".embedstep.lock"
_IN_USE = "{} is in use by another step"
_FILES = (
    "request.json",
    "plan.json",
    "progress.json",
    "result.json",
    "error.json",
    "verdict.json",
    "report.html",
    "replay.json",
)
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""Errors of a disk that takes nothing more: outside the request, and gone when somebody has made room."""


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Paths of one output folder.

    Attributes:
        path: the folder.
        lock: descriptor of the lock by which this attempt holds the folder, or None in a process that does not.
    """

    path: Path
    lock: int | None = None

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
    def began_at(self) -> Path:
        """The checkpoint in this folder at which a request had the training begin; there only where one did."""
        return self.checkpoints / "began_at"

    @property
    def model(self) -> Path:
        """Folder of the finished model; there only when it was verified."""
        return self.path / "model"

    @property
    def result(self) -> Path:
        """How the step ended."""
        return self.path / "result.json"

    @property
    def error(self) -> Path:
        """The first thing that went wrong; absent after a success."""
        return self.path / "error.json"

    @property
    def attempts(self) -> Path:
        """What each attempt at the step has cost; kept until one has ended well and another begins."""
        return self.path / "attempts.json"

    @property
    def report(self) -> Path:
        """The run for a person to look at."""
        return self.path / "report.html"

    @property
    def replay(self) -> Path:
        """Whether this run has repeated another."""
        return self.path / "replay.json"

    @property
    def verdict(self) -> Path:
        """What a gate has decided about the model."""
        return self.path / "verdict.json"

    @property
    def attempt(self) -> Path:
        """Folder of what the processes of one attempt share; the next attempt starts with an empty one."""
        return self.path / "attempt"

    @property
    def start(self) -> Path:
        """The checkpoint that this attempt goes on from."""
        return self.attempt / "start_from.json"

    @property
    def data(self) -> Path:
        """Folder of the prepared rows."""
        return self.attempt / "data"

    @property
    def ledger(self) -> Path:
        """The ledger by itself, for the tracker: as planned, and after the training with what that found out."""
        return self.attempt / "ledger.json"

    @property
    def verified_model(self) -> Path:
        """Folder of the model that the workers have saved and verified, until the step gives it its name."""
        return self.attempt / "model"

    @property
    def worker_result(self) -> Path:
        """What the first rank says of a training that it finished."""
        return self.attempt / "result.json"

    def clear(self, *, with_checkpoints: bool = True) -> None:
        """Remove what an attempt before left, so that nothing old can be taken for this attempt's.

        Args:
            with_checkpoints: also its checkpoints and its metrics, which an attempt that goes on from there continues.
        """
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        self.clear_training(with_checkpoints=with_checkpoints)

    def clear_training(self, *, with_checkpoints: bool) -> None:
        """Remove what a kill has left of a checkpoint, or all of them with the metrics."""
        if with_checkpoints:
            self.metrics.unlink(missing_ok=True)
        leftover = self.checkpoints if with_checkpoints else self.checkpoints / STAGING_DIR
        if leftover.exists():
            shutil.rmtree(leftover)

    def forget_processes(self) -> None:
        """Remove what the processes of this attempt have left, before they are started again."""
        for pattern in ("rank*", "first_rank", "interrupted", "torchrun.json", "ledger.json"):
            for file in self.attempt.glob(pattern):
                file.unlink(missing_ok=True)
        shutil.rmtree(self.verified_model, ignore_errors=True)
        self.error.unlink(missing_ok=True)

    def archive_checkpoints(self, after: int) -> Path:
        """Keep the checkpoints of another training after a step, beside those that were kept before; return where."""
        names = chain(["checkpoints.before"], (f"checkpoints.before-{number}" for number in count(2)))
        kept = next(path for name in names if not (path := self.path / name).exists())
        kept.mkdir()
        for step, checkpoint in list(checkpoints_in(self.checkpoints)):
            if step > after:
                checkpoint.rename(kept / checkpoint.name)
        return kept

    def publish_model(self) -> None:
        """Give the verified model its name; one that lay there stays until then."""
        if self.model.exists():
            self.model.rename(self._model_before)
        self.verified_model.rename(self.model)
        shutil.rmtree(self._model_before, ignore_errors=True)

    def settle_model(self) -> None:
        """Put a model back that a kill has kept from being replaced."""
        if self._model_before.exists() and not self.model.exists():
            self._model_before.rename(self.model)
        shutil.rmtree(self._model_before, ignore_errors=True)

    @property
    def _model_before(self) -> Path:
        return self.path / ".model.before"


@contextmanager
def lock_output(path: Path, *, overwrite: bool) -> Iterator[OutputFolder]:
    """Hold the output folder for one attempt. What lies in it stays until `clear`, but for the last attempt's folder.

    Args:
        path: the folder; made when missing.
        overwrite: take a folder with a finished model too.

    Raises:
        InvalidRequestError: the folder is a file, belongs to something else, is held by another attempt, or holds a
            finished model that `overwrite` does not allow to replace.
        CannotStartError: the disk does not let us write.
    """
    folder, descriptor = _claim(path, overwrite=overwrite)
    try:
        yield folder
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise _as_ours(path, error) from error
        raise
    finally:
        os.close(descriptor)


@contextmanager
def lock_run_key(key: str | None) -> Iterator[None]:
    """Hold the run of a key (`tracking.key`) for one attempt on this machine, whichever folder that writes to.

    Args:
        key: the key; None names no run, and holds nothing.

    Raises:
        CannotStartError: another attempt on this machine records in the same run.
    """
    if key is None:
        yield
        return
    folder = Path(tempfile.gettempdir()) / f"embedstep-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held = f"tracking.key {key} is that of another step on this machine"
    with _locked(folder / f"{hashlib.sha256(key.encode()).hexdigest()}.lock", held):
        yield


@contextmanager
def lock_for_sync(path: Path) -> Iterator[None]:
    """Keep attempts out of an output folder for a while.

    Raises:
        InvalidRequestError: it is no output folder, or an attempt holds it.
    """
    if not (path / LOCK).exists():
        raise _refused(f"{path} is not an output folder of a run")
    with _locked(path / LOCK, _IN_USE.format(path)):
        yield


def _claim(path: Path, *, overwrite: bool) -> tuple[OutputFolder, int]:
    descriptor = None
    try:
        path.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(path)
        descriptor = _lock(path / LOCK, _IN_USE.format(path))
        folder = OutputFolder(path, descriptor)
        folder.settle_model()
        if folder.model.exists() and not overwrite:
            raise _refused(f"{path} holds a finished model; add --overwrite, or choose another folder")
        if folder.attempt.exists():
            shutil.rmtree(folder.attempt)
        folder.attempt.mkdir()
    except BaseException as error:
        if descriptor is not None:
            os.close(descriptor)
        if isinstance(error, OSError):
            raise _as_ours(path, error) from error
        raise
    return folder, descriptor


def _as_ours(path: Path, error: OSError) -> Exception:
    reason = os.strerror(error.errno or 0).lower()
    if error.errno in DISK_FULL_ERRNOS:
        return CannotStartError(f"{path} cannot be written: {reason}")
    return _refused(f"{path} cannot be used: {reason}; choose another folder with --output")


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError([Problem("output", message)])


@contextmanager
def _locked(file: Path, held: str) -> Iterator[None]:
    descriptor = _lock(file, held)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(file: Path, held: str) -> int:
    """Take an advisory lock that the kernel releases with the last process that holds the descriptor."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CannotStartError(f"{held}; wait for that, or choose another") from None
    return descriptor


def _refuse_foreign(path: Path) -> None:
    """Refuse a folder that has files and never was an output folder: clearing it would lose somebody's work."""
    content = sorted(entry.name for entry in path.iterdir())
    if content and LOCK not in content:
        shown = ", ".join(content[:3])
        raise _refused(f"{path} holds other files ({shown}); choose an empty or a new folder")
