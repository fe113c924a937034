"""A checkpoint gets its name after its manifest, and replaces those of an attempt that had come further."""

from pathlib import Path

import pytest

pytest.importorskip("transformers")


def written(folder: Path, step: int) -> Path:
    """Write a checkpoint to the staging folder."""
    checkpoint = folder / ".staging" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights").write_text(f"of step {step}")
    return checkpoint


def test_checkpoints_are_published_in_order_and_the_oldest_ones_removed(tmp_path: Path) -> None:
    from embedstep.worker.trainer.publisher import CheckpointPublisher

    def write_manifest(checkpoint: Path) -> None:
        (checkpoint / "manifest").write_text("{}")

    publisher = CheckpointPublisher(write_manifest)
    for step in (2, 4, 6):
        publisher.submit(written(tmp_path, step), tmp_path / f"checkpoint-{step}", limit=2, best=None)
        publisher.join()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-6"]
    assert sorted(each.name for each in (tmp_path / "checkpoint-6").iterdir()) == ["manifest", "weights"]
    # Training has gone back to step 2, and comes to step 4 again.
    publisher.submit(written(tmp_path, 4), tmp_path / "checkpoint-4", limit=None, best=None)
    publisher.join()
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint-4"]


def test_what_went_wrong_is_raised_where_it_is_waited_for(tmp_path: Path) -> None:
    from embedstep.worker.trainer.publisher import CheckpointPublisher

    def full(checkpoint: Path) -> None:
        raise OSError("no space left")

    publisher = CheckpointPublisher(full)
    publisher.submit(written(tmp_path, 1), tmp_path / "checkpoint-1", limit=None, best=None)
    with pytest.raises(OSError, match="no space left"):
        publisher.join()
    assert not (tmp_path / "checkpoint-1").exists()
    publisher.join()  # it is reported once
