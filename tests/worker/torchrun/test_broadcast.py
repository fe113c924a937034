"""What the first node sends to one that does not share its disk, with real processes on one machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker.torchrun.test_rendezvous import free_port

pytestmark = pytest.mark.torchrun

NODE = str(Path(__file__).with_name("broadcasting_node.py"))


@pytest.fixture
def nodes(tmp_path: Path) -> list[Path]:
    """The disks of two nodes, the first with what it has prepared."""
    disks = [tmp_path / "first", tmp_path / "second"]
    for disk in disks:
        (disk / "out" / "attempt").mkdir(parents=True)
    prepared = disks[0] / "out"
    (prepared / "request.json").write_text('{"a": 1}')
    (prepared / "plan.json").write_text("{}")
    begins_at(prepared, None)
    (prepared / "attempt" / "data" / "train").mkdir(parents=True)
    (prepared / "attempt" / "data" / "train" / "rows.arrow").write_bytes(bytes(range(23)))
    (prepared / "attempt" / "data" / "empty").write_bytes(b"")
    return disks


def begins_at(output: Path, checkpoint: str | None, *, step: int = 0) -> None:
    start: dict[str, object] = {"checkpoint": checkpoint, "step": step, "skipped": [], "is_here": bool(step)}
    (output / "attempt" / "start_from.json").write_text(json.dumps(start))


def send(disks: list[Path], *outputs: str) -> list[tuple[int, str]]:
    """Let both nodes do their part, and return the exit code and output of each."""
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, NODE, str(rank), str(port), output],
            cwd=disk, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank, (disk, output) in enumerate(zip(disks, outputs or ("out", "out"), strict=True))
    ]  # fmt: skip
    outputs_of = [process.communicate(timeout=100)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, outputs_of, strict=True)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_prepared_exists_on_both_nodes(nodes: list[Path]) -> None:
    checkpoint = nodes[0] / "out" / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "embedstep_manifest.json").write_text("{}")
    (checkpoint / "weights").write_bytes(b"0123456789")
    begins_at(nodes[0] / "out", "out/checkpoints/checkpoint-3", step=3)
    of_before = nodes[1] / "out" / "checkpoints" / "checkpoint-2"
    of_before.mkdir(parents=True)
    assert send(nodes) == [(0, ""), (0, "")]
    assert content(nodes[1] / "out") == content(nodes[0] / "out")
    assert not of_before.exists()


def test_different_output_paths_are_refused_on_both_nodes(nodes: list[Path]) -> None:
    (nodes[1] / "other" / "attempt").mkdir(parents=True)
    message = "node 0 writes to out, and node 1 to other; use the same path on all nodes\n"
    assert send(nodes, "out", "other") == [(3, message), (3, message)]


def test_a_disk_that_cannot_be_written_is_reported_on_both_nodes(nodes: list[Path]) -> None:
    (nodes[1] / "out" / "attempt" / "data").write_text("where the rows should go")
    message = "node 1: out/attempt/data/empty cannot be written: file exists\n"
    assert send(nodes) == [(3, message), (3, message)]


def test_a_named_checkpoint_must_exist_on_every_node(nodes: list[Path]) -> None:
    (nodes[0] / "elsewhere").mkdir()
    begins_at(nodes[0] / "out", "elsewhere")
    message = "node 1 has no elsewhere; a named checkpoint must exist on every node\n"
    assert send(nodes) == [(3, message), (3, message)]
