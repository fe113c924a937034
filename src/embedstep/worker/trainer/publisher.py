"""Gives a written checkpoint its name while the training continues."""

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from transformers.trainer_utils import rotate_checkpoints

from embedstep.output.checkpoints import checkpoints_in, fsync_directory


class CheckpointPublisher:
    """Publishes one checkpoint at a time in a thread: the digests of its files take as long as writing them."""

    def __init__(self, write_manifest: Callable[[Path], None]) -> None:
        """Start with nothing to publish.

        Args:
            write_manifest: writes the manifest of a checkpoint, after its other files and before it gets its name.
        """
        self._write_manifest = write_manifest
        self._thread = ThreadPoolExecutor(1)
        self._publishing: Future[None] | None = None

    def submit(self, written: Path, checkpoint: Path, *, limit: int | None, best: str | None) -> None:
        """Publish a checkpoint, and remove the oldest ones beyond the limit.

        Args:
            written: its folder inside the staging folder.
            checkpoint: the folder that it gets.
            limit: how many checkpoints are kept; None for all.
            best: the best checkpoint, which is kept.
        """
        self._publishing = self._thread.submit(self._publish, written, checkpoint, limit, best)

    def join(self) -> None:
        """Wait until the last checkpoint has its name, and raise what went wrong with it."""
        if publishing := self._publishing:
            self._publishing = None
            publishing.result()

    def _publish(self, written: Path, checkpoint: Path, limit: int | None, best: str | None) -> None:
        self._write_manifest(written)
        own = int(checkpoint.name.rpartition("-")[2])
        for step, other in list(checkpoints_in(checkpoint.parent)):
            # Checkpoints of an earlier attempt that had come further, and that this one has not resumed from.
            if step >= own:
                other.rename(written.with_name(f"{other.name}.before"))
        written.rename(checkpoint)
        fsync_directory(checkpoint.parent)
        shutil.rmtree(written.parent)
        rotate_checkpoints(str(checkpoint.parent), limit, best, use_mtime=False)
