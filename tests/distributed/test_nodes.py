"""Two nodes on one machine: two launchers of torchrun that meet, with a folder each."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.torchrun


def test_save_on_each_node_leaves_whole_checkpoints(tmp_path: Path, tiny_model: Path) -> None:
    """The library alone leaves the weights and config.json on the first node only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}", "--nproc-per-node=1",
             "--master-addr=127.0.0.1", f"--master-port={port}", str(Path(__file__).parent / "nodes.py"),
             str(tiny_model), str(tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for node in range(2)
    ]  # fmt: skip
    told = [node.communicate(timeout=120)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(told)
    first, second = (tmp_path / f"node-{node}/checkpoint-2" for node in range(2))
    # Beside the random state of its own rank each folder holds the same files.
    files = [
        {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} for folder in (first, second)
    ]
    assert files[0] - {"rng_state_0.pth"} == files[1] - {"rng_state_1.pth"}
    assert {"model.safetensors", "config.json", "optimizer.pt", "trainer_state.json"} <= files[1]
    weights = [load_file(folder / "model.safetensors") for folder in (first, second)]
    assert all((tensor == weights[1][name]).all() for name, tensor in weights[0].items())
