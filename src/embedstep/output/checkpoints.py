"""Complete checkpoints: a manifest of their files, and the search for the latest one that matches its manifest.

The trainer writes a checkpoint in a staging folder, and renames it when its manifest is written. A checkpoint that a
kill, a full disk or a flipped bit has damaged does not match its manifest, and is never resumed from.
"""

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.output.position import write_position
from embedstep.output.result import read_json, write_json
from embedstep.runtime.digests import sha256_file

STAGING_DIR = "_writing"
"""Folder for a checkpoint that is being written; a push to the hub ignores names that begin with `_`."""
_OPTIMIZER = "optimizer.pt"
MANIFEST = "embedstep_manifest.json"
"""Manifest of a checkpoint; written last, so that only a complete checkpoint has it."""
REQUEST_FILE = "embedstep_request.json"
_FORMAT = "embedstep.checkpoint/1"
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class LatestCheckpoint:
    """The latest complete checkpoint.

    Attributes:
        checkpoint: its folder; None if there is none.
        step: the train step after which it was saved, or 0.
        skipped: a message for each later checkpoint that cannot be used.
    """

    checkpoint: Path | None = None
    step: int = 0
    skipped: tuple[str, ...] = ()


def write_manifest(
    checkpoint: Path, *, trained_from: str, position: Mapping[str, Any], request: Mapping[str, Any]
) -> None:
    """Write the manifest, request and position of a checkpoint, and flush all its files to the disk.

    Args:
        checkpoint: its folder, complete otherwise.
        trained_from: digest of the training (`Plan.trained_from`).
        position: everything that the order of the rows depends on.
        request: the stored request, so that the checkpoint can be understood by itself.
    """
    write_position(checkpoint, position)
    write_json(checkpoint / REQUEST_FILE, request)
    names = sorted(str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda name: sha256_file(checkpoint / name, sync=True), names)
        files = {
            name: {"bytes": (checkpoint / name).stat().st_size, "sha256": digest}
            for name, digest in zip(names, digests, strict=True)
        }
    write_json(checkpoint / MANIFEST, {"format": _FORMAT, "trained_from": trained_from, "files": files})
    sha256_file(checkpoint / MANIFEST, sync=True)
    for folder in (checkpoint, *(path for path in checkpoint.rglob("*") if path.is_dir())):
        fsync_directory(folder)


def fsync_directory(folder: Path) -> None:
    """Flush the entries of a folder to the disk; the caller is about to remove older checkpoints."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def latest_checkpoint(folder: Path, trained_from: str | None = None) -> LatestCheckpoint:
    """Find the latest complete checkpoint, by train step.

    Args:
        folder: the folder of the checkpoints.
        trained_from: digest of the training; checkpoints of another one are skipped. None accepts any.
    """
    skipped: list[str] = []
    for step, checkpoint in sorted(checkpoints_in(folder), reverse=True):
        problem = _reason_to_skip(checkpoint, trained_from)
        if problem is None:
            return LatestCheckpoint(checkpoint=checkpoint, step=step, skipped=tuple(skipped))
        skipped.append(f"{checkpoint.name} is skipped: {problem}")
    return LatestCheckpoint(skipped=tuple(skipped))


def checkpoints_in(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the train step and the folder of each checkpoint, complete or not."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if (found := _NAME.fullmatch(path.name)) and path.is_dir():
            yield int(found[1]), path


def _reason_to_skip(checkpoint: Path, trained_from: str | None) -> str | None:
    """Return the reason why a checkpoint cannot be resumed from, or None."""
    if not (checkpoint / MANIFEST).exists():
        return "it has no manifest and may be incomplete (arguments.resume_from_checkpoint accepts its path)"
    try:
        return _mismatch(checkpoint, read_json(checkpoint / MANIFEST), trained_from)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    except OSError as error:
        return f"{error.filename} cannot be read: {os.strerror(error.errno or 0).lower()}"


def _mismatch(checkpoint: Path, manifest: Any, trained_from: str | None) -> str | None:
    """Return how a checkpoint differs from its manifest, or None."""
    if manifest.get("format") != _FORMAT:
        return f"its manifest has the format {manifest.get('format')!r}, and this release reads {_FORMAT}"
    if trained_from is not None and manifest["trained_from"] != trained_from:
        return "it belongs to another request, other rows or another number of processes"
    if _OPTIMIZER not in manifest["files"]:
        return "it has the model only (save_only_model)"
    # Sizes first: they reveal most damages without reading the files.
    for name, about in manifest["files"].items():
        file = checkpoint / name
        size = file.stat().st_size if file.is_file() else None
        if size != about["bytes"]:
            return f"{name} is missing" if size is None else f"{name} has {size:,} bytes of {about['bytes']:,}"
    for name, about in manifest["files"].items():
        if sha256_file(checkpoint / name) != about["sha256"]:
            return f"{name} was changed after it was written"
    return None
