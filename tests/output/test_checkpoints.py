"""Damaged and incomplete checkpoints are skipped."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from embedstep.output.checkpoints import latest_checkpoint, write_manifest
from embedstep.output.position import POSITION_FILE

Edit = Callable[[Path], object]


def made(folder: Path, step: int, trained_from: str = "a") -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "1_Pooling").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (checkpoint / "optimizer.pt").write_bytes(b"o" * 5000)
    (checkpoint / "1_Pooling" / "config.json").write_text("{}")
    write_manifest(checkpoint, trained_from=trained_from, position={"seed": 7}, request={"fingerprint": "f"})
    return checkpoint


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(bytes(content))


def test_the_latest_checkpoint_has_the_largest_step(tmp_path: Path) -> None:
    for step in (100, 20, 9):
        made(tmp_path, step)
    (tmp_path / "checkpoint-200").write_text("a file")
    (tmp_path / "checkpoint-best").mkdir()
    found = latest_checkpoint(tmp_path, "a")
    assert (found.checkpoint, found.step, found.skipped) == (tmp_path / "checkpoint-100", 100, ())


def test_two_torn_ones_are_skipped_one_after_the_other(tmp_path: Path) -> None:
    """The newest has half of its weights, and the one before lacks a file."""
    made(tmp_path, 20)
    (made(tmp_path, 30) / "1_Pooling" / "config.json").unlink()
    (made(tmp_path, 40) / "model.safetensors").write_bytes(b"half")
    found = latest_checkpoint(tmp_path, "a")
    assert found.step == 20
    assert found.skipped == (
        "checkpoint-40 is skipped: model.safetensors has 4 bytes of 10,240",
        "checkpoint-30 is skipped: 1_Pooling/config.json is missing",
    )


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda at: (at / "optimizer.pt").unlink(), "optimizer.pt is missing"),
        (lambda at: (at / "optimizer.pt").write_bytes(b"o" * 12), "optimizer.pt has 12 bytes of 5,000"),
        (lambda at: (at / "1_Pooling" / "config.json").write_text("[]"), "1_Pooling/config.json was changed after"),
        (lambda at: flipped(at / "model.safetensors"), "model.safetensors was changed after it was written"),
        (lambda at: flipped(at / POSITION_FILE), f"{POSITION_FILE} was changed after it was written"),
        (lambda at: (at / "embedstep_manifest.json").unlink(), "it has no manifest and may be incomplete"),
        (lambda at: (at / "embedstep_manifest.json").write_text("{"), "its manifest cannot be read"),
        (
            lambda at: (at / "embedstep_manifest.json").write_text(json.dumps({"format": "embedstep.checkpoint/9"})),
            "its manifest has the format 'embedstep.checkpoint/9', and this release reads embedstep.checkpoint/1",
        ),
    ],
)
def test_a_damaged_checkpoint_is_skipped_for_an_earlier_one(tmp_path: Path, edit: Edit, why: str) -> None:
    made(tmp_path, 10)
    edit(made(tmp_path, 20))
    found = latest_checkpoint(tmp_path, "a")
    assert found.step == 10
    (message,) = found.skipped
    assert message.startswith(f"checkpoint-20 is skipped: {why}")


def test_a_checkpoint_of_another_training_is_skipped(tmp_path: Path) -> None:
    made(tmp_path, 10, trained_from="b")
    found = latest_checkpoint(tmp_path, "a")
    assert (found.checkpoint, found.step) == (None, 0)
    assert found.skipped == (
        "checkpoint-10 is skipped: it belongs to another request, other rows or another number of processes",
    )
    assert latest_checkpoint(tmp_path).step == 10


def test_a_checkpoint_without_an_optimizer_is_skipped(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-10"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"m")
    write_manifest(checkpoint, trained_from="a", position={}, request={})
    assert latest_checkpoint(tmp_path, "a").skipped == (
        "checkpoint-10 is skipped: it has the model only (save_only_model)",
    )


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "none", "a").checkpoint is None


def test_a_manifest_with_any_flipped_bit_is_skipped(tmp_path: Path) -> None:
    """Or is as good as before, where the bit does not matter: none ends in a traceback."""
    made(tmp_path, 10)
    manifest = made(tmp_path, 20) / "embedstep_manifest.json"
    content = manifest.read_bytes()
    for position in range(len(content)):
        for bit in (0, 5):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            manifest.write_bytes(bytes(damaged))
            found = latest_checkpoint(tmp_path, "a")
            assert found.step == 20 or (found.step == 10 and len(found.skipped) == 1)


def test_a_checkpoint_has_its_request(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, 10)
    assert json.loads((checkpoint / "embedstep_request.json").read_text()) == {"fingerprint": "f"}
