"""Checkpoints that are whole or not there: a manifest of their files, and the newest that still fits it.

The trainer writes a checkpoint aside; with its manifest it gets its name. What a kill, a full disk or a flipped bit has
left is told from a whole one by that, and never trained from.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.output.position import write_position
from embedstep.output.result import read_json, write_json

STAGING_DIR = "_writing"
"""Folder among the checkpoints in which one is that is being written; a push to the hub leaves out what begins so."""
_OPTIMIZER = "optimizer.pt"
MANIFEST = "embedstep_manifest.json"
"""File of a checkpoint that says what belongs to it; written last, so that only a whole one has it."""
REQUEST_FILE = "embedstep_request.json"
_FORMAT = "embedstep.checkpoint/1"
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class LatestCheckpoint:
    """The checkpoint to go on from.

    Attributes:
        checkpoint: its folder; None where there is none.
        step: the train step after which it was saved, 0 without one.
        skipped: newer ones, and why each is not taken.
    """

    checkpoint: Path | None = None
    step: int = 0
    skipped: tuple[str, ...] = ()


def write_manifest(
    checkpoint: Path, *, trained_from: str, position: Mapping[str, Any], request: Mapping[str, Any]
) -> None:
    """Write down what belongs to a checkpoint, after everything else in it; then all of that is on the disk.

    Args:
        checkpoint: its folder.
        trained_from: digest of what is trained (`Plan.trained_from`).
        position: what the order of the rows depends on.
        request: the resolved request, for whoever finds the checkpoint alone.
    """
    write_position(checkpoint, position)
    write_json(checkpoint / REQUEST_FILE, request)
    names = sorted(str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda name: _digest(checkpoint / name, sync=True), names)
        files = {
            name: {"bytes": (checkpoint / name).stat().st_size, "sha256": digest}
            for name, digest in zip(names, digests, strict=True)
        }
    write_json(checkpoint / MANIFEST, {"format": _FORMAT, "trained_from": trained_from, "files": files})
    _digest(checkpoint / MANIFEST, sync=True)
    for folder in (checkpoint, *(path for path in checkpoint.rglob("*") if path.is_dir())):
        fsync_directory(folder)


def fsync_directory(folder: Path) -> None:
    """Have the names of a folder's files on the disk: those of older checkpoints are taken away next."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def latest_checkpoint(folder: Path, trained_from: str | None = None) -> LatestCheckpoint:
    """Return the newest whole checkpoint, by its train step.

    Args:
        folder: the folder of the checkpoints.
        trained_from: digest of what is trained; a checkpoint of something else is skipped. None takes any.
    """
    skipped: list[str] = []
    for step, checkpoint in sorted(checkpoints_in(folder), reverse=True):
        problem = _problem(checkpoint, trained_from)
        if problem is None:
            return LatestCheckpoint(checkpoint=checkpoint, step=step, skipped=tuple(skipped))
        skipped.append(f"{checkpoint.name} is skipped: {problem}")
    return LatestCheckpoint(skipped=tuple(skipped))


def checkpoints_in(folder: Path) -> Iterator[tuple[int, Path]]:
    """Give the train step and the folder of each checkpoint, whole or not."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if (found := _NAME.fullmatch(path.name)) and path.is_dir():
            yield int(found[1]), path


def _problem(checkpoint: Path, trained_from: str | None) -> str | None:
    """Say why a checkpoint is not to be gone on from, or None."""
    if not (checkpoint / MANIFEST).exists():
        return "it has no manifest and may be torn (arguments.resume_from_checkpoint takes it by its path)"
    try:
        return _difference(checkpoint, read_json(checkpoint / MANIFEST), trained_from)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    except OSError as error:
        return f"{error.filename} cannot be read: {os.strerror(error.errno or 0).lower()}"


def _difference(checkpoint: Path, manifest: Any, trained_from: str | None) -> str | None:
    """Say in what a checkpoint is not what its manifest says, or None."""
    if manifest.get("format") != _FORMAT:
        return f"its manifest has the format {manifest.get('format')!r}, and this release reads {_FORMAT}"
    if trained_from is not None and manifest["trained_from"] != trained_from:
        return "it is of another request, other rows or another number of processes"
    if _OPTIMIZER not in manifest["files"]:
        return "it holds the model only (save_only_model)"
    # Sizes tell most of what goes wrong, and are there at once.
    for name, about in manifest["files"].items():
        file = checkpoint / name
        size = file.stat().st_size if file.is_file() else None
        if size != about["bytes"]:
            return f"{name} is missing" if size is None else f"{name} has {size:,} bytes of {about['bytes']:,}"
    for name, about in manifest["files"].items():
        if _digest(checkpoint / name) != about["sha256"]:
            return f"{name} is not what was written"
    return None


def _digest(file: Path, *, sync: bool = False) -> str:
    """Return the digest of a file, and have its bytes on the disk before."""
    with file.open("rb") as opened:
        if sync:
            os.fsync(opened.fileno())
        return hashlib.file_digest(opened, "sha256").hexdigest()
