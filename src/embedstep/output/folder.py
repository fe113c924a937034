"""The output folder of a step: the paths of its files, and the lock of the attempt that writes to it."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.output.checkpoints import STAGING_DIR, checkpoints_in
from embedstep.runtime.digests import sha256_text

LOCK = ".embedstep.lock"
_IN_USE = "{} is in use by another step"
DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""Errors of a full or failing disk, after which a retry may succeed."""


class _Place:
    """The path of something in an output folder, as an attribute of the folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: "OutputFolder", owner: type) -> Path:
        return folder.path / self._name


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Paths of one output folder.

    Attributes:
        path: the folder.
        lock: file descriptor of the lock of this attempt; None in processes that do not hold it.
        request: the request with its defaults and its fingerprint.
        plan: the training plan that the workers have to follow.
        progress: the progress of the training, rewritten at each log.
        metrics: all logged metrics with their train steps, as JSON lines.
        checkpoints: folder of the trainer's checkpoints.
        initial_checkpoint: the checkpoint of this folder that `resume_from_checkpoint` named at the start, if it did.
        model: folder of the finished model; exists only if the model was verified.
        result: the result of the step.
        error: the first failure; does not exist after a success.
        attempts: the cost of each attempt; starts over with the first attempt after a success.
        report: the report of the run, for people.
        replay: the comparison with the run that this one has repeated.
        verdict: the decision of a promotion gate about the model.
        attempt: folder that the processes of one attempt share; emptied at the start of the next attempt.
        start: the checkpoint that this attempt resumes from.
        data: folder of the prepared rows.
        ledger: the ledger of training arguments for the tracker, completed after the training.
        verified_model: folder of the model that the workers have verified, until the step publishes it.
        worker_result: result of rank 0 after it has finished the training.
    """

    path: Path
    lock: int | None = None

    request = _Place("request.json")
    plan = _Place("plan.json")
    progress = _Place("progress.json")
    metrics = _Place("metrics.jsonl")
    checkpoints = _Place("checkpoints")
    initial_checkpoint = _Place("checkpoints/began_at")
    model = _Place("model")
    result = _Place("result.json")
    error = _Place("error.json")
    attempts = _Place("attempts.json")
    report = _Place("report.html")
    replay = _Place("replay.json")
    verdict = _Place("verdict.json")
    attempt = _Place("attempt")
    start = _Place("attempt/start_from.json")
    data = _Place("attempt/data")
    ledger = _Place("attempt/ledger.json")
    verified_model = _Place("attempt/model")
    worker_result = _Place("attempt/result.json")
    _model_before = _Place(".model.before")

    def clear(self, *, with_checkpoints: bool = True) -> None:
        """Remove the files of the previous attempt, so that they cannot be mistaken for this one's.

        Args:
            with_checkpoints: remove its checkpoints and metrics, too; an attempt that resumes needs them.
        """
        documents = (self.request, self.plan, self.progress, self.result, self.error, self.verdict, self.report)
        for file in (*documents, self.replay):
            file.unlink(missing_ok=True)
        self.clear_training(with_checkpoints=with_checkpoints)

    def clear_training(self, *, with_checkpoints: bool) -> None:
        """Remove an incomplete checkpoint, or all checkpoints and the metrics."""
        if with_checkpoints:
            self.metrics.unlink(missing_ok=True)
        leftover = self.checkpoints if with_checkpoints else self.checkpoints / STAGING_DIR
        if leftover.exists():
            shutil.rmtree(leftover)

    def clear_processes(self) -> None:
        """Remove the files of this attempt's processes before they are restarted."""
        for pattern in ("rank*", "first_rank", "interrupted", "torchrun.json", "ledger.json"):
            for file in self.attempt.glob(pattern):
                file.unlink(missing_ok=True)
        shutil.rmtree(self.verified_model, ignore_errors=True)
        self.error.unlink(missing_ok=True)

    def archive_checkpoints(self, after: int) -> Path:
        """Move the checkpoints after a step to a new folder `checkpoints.before` (`-2`, `-3`...), and return that."""
        names = chain(["checkpoints.before"], (f"checkpoints.before-{number}" for number in count(2)))
        kept = next(path for name in names if not (path := self.path / name).exists())
        kept.mkdir()
        for step, checkpoint in list(checkpoints_in(self.checkpoints)):
            if step > after:
                checkpoint.rename(kept / checkpoint.name)
        return kept

    def publish_model(self) -> None:
        """Rename the verified model; an earlier model stays in place until then."""
        if self.model.exists():
            self.model.rename(self._model_before)
        self.verified_model.rename(self.model)
        shutil.rmtree(self._model_before, ignore_errors=True)

    def restore_model(self) -> None:
        """Restore the earlier model if `publish_model` was killed halfway."""
        if self._model_before.exists() and not self.model.exists():
            self._model_before.rename(self.model)
        shutil.rmtree(self._model_before, ignore_errors=True)


@contextmanager
def lock_output(path: Path, *, overwrite: bool) -> Iterator[OutputFolder]:
    """Lock the output folder for one attempt, and empty its `attempt` folder; other files stay until `clear`.

    Args:
        path: the folder; created if it does not exist.
        overwrite: accept a folder with a finished model.

    Raises:
        InvalidRequestError: the path is a file or a folder with other files, or has a finished model without
            `overwrite`.
        CannotStartError: another attempt uses the folder, or the disk cannot be written.
    """
    # The lock is held from the preparation of the folder to the end of the step.
    with ExitStack() as lock:
        try:
            path.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(path)
            folder = OutputFolder(path, lock.enter_context(_locked(path / LOCK, _IN_USE.format(path))))
            _begin_attempt(folder, overwrite=overwrite)
        except OSError as error:
            raise _translate(path, error) from error
        # Other errors of the step are its own, and say nothing about the folder.
        try:
            yield folder
        except OSError as error:
            if error.errno in DISK_FULL_ERRNOS:
                raise _translate(path, error) from error
            raise


@contextmanager
def lock_run_key(key: str | None) -> Iterator[None]:
    """Lock a run key (`tracking.key`) on this machine, whatever the output folder.

    Args:
        key: the key; None locks nothing.

    Raises:
        CannotStartError: another attempt on this machine has the same key.
    """
    if key is None:
        yield
        return
    folder = Path(tempfile.gettempdir()) / f"embedstep-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held = f"tracking.key {key} is in use by another step on this machine"
    with _locked(folder / f"{sha256_text(key)}.lock", held):
        yield


@contextmanager
def lock_for_sync(path: Path) -> Iterator[None]:
    """Lock an output folder, so that no attempt starts while its records are sent.

    Raises:
        InvalidRequestError: it is not an output folder.
        CannotStartError: an attempt uses it.
    """
    if not (path / LOCK).exists():
        raise _refused(f"{path} is not an output folder of a run")
    with _locked(path / LOCK, _IN_USE.format(path)):
        yield


def _begin_attempt(folder: OutputFolder, *, overwrite: bool) -> None:
    folder.restore_model()
    if folder.model.exists() and not overwrite:
        raise _refused(f"{folder.path} holds a finished model; add --overwrite, or choose another folder")
    if folder.attempt.exists():
        shutil.rmtree(folder.attempt)
    folder.attempt.mkdir()


def _translate(path: Path, error: OSError) -> Exception:
    reason = os.strerror(error.errno or 0).lower()
    if error.errno in DISK_FULL_ERRNOS:
        return CannotStartError(f"{path} cannot be written: {reason}")
    return _refused(f"{path} cannot be used: {reason}; choose another folder with --output")


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError.at("output", message)


@contextmanager
def _locked(file: Path, held: str) -> Iterator[int]:
    """Hold an advisory lock, which the kernel releases when the last process closes the descriptor; yield that."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStartError(f"{held}; wait for that, or choose another") from None
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_foreign(path: Path) -> None:
    """Refuse a folder with other files, because clearing it would delete them."""
    content = sorted(entry.name for entry in path.iterdir())
    if content and LOCK not in content:
        shown = ", ".join(content[:3])
        raise _refused(f"{path} holds other files ({shown}); choose an empty or a new folder")
