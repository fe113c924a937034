"""Two nodes on one machine: two launchers of torchrun that meet, or two of `embedstep run`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file

from tests.conftest import pair_rows
from tests.data.test_sharded_rows import write_all
from tests.worker.torchrun.test_rendezvous import free_port

pytestmark = pytest.mark.torchrun


_OF_RANKS = (("rng_state", "pth"), ("embedstep_loop", "json"))


def test_save_on_each_node_leaves_whole_checkpoints(tmp_path: Path, tiny_model: Path) -> None:
    """The library alone leaves the weights and config.json on the first node only."""
    port = free_port()
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}", "--nproc-per-node=1",
             "--master-addr=127.0.0.1", f"--master-port={port}", str(Path(__file__).parent / "nodes.py"),
             str(tiny_model), str(tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for node in range(2)
    ]  # fmt: skip
    shown = [node.communicate(timeout=120)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(shown)
    first, second = (tmp_path / f"node-{node}/checkpoint-2" for node in range(2))
    # The states of both ranks are in each, so that the disk of one is enough to resume from.
    files = [
        {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} for folder in (first, second)
    ]
    assert files[0] == files[1]
    assert {f"{name}_{rank}.{kind}" for rank in (0, 1) for name, kind in _OF_RANKS} < files[1]
    assert {"model.safetensors", "config.json", "optimizer.pt", "trainer_state.json"} <= files[1]
    weights = [load_file(folder / "model.safetensors") for folder in (first, second)]
    assert all((tensor == weights[1][name]).all() for name, tensor in weights[0].items())


# As many threads on one machine as on two: the order of sums depends on them.
_THREADS = {"OMP_NUM_THREADS": "1"}


def start(folder: Path, output: str, **place: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", output],
        cwd=folder, env={**os.environ, **_THREADS, **place},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_pods_of_an_indexed_job_train_one_model(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """What the step operator of ZenML sets, and the same weights as by as many processes on one machine."""
    request = request_of(arguments={"max_steps": 4, "use_cpu": True, "save_strategy": "no"})
    (tmp_path / "request.yaml").write_text(yaml.safe_dump({**request, "launch": {"processes_per_node": 2}}))
    alone = start(tmp_path, "alone").communicate(timeout=120)
    (tmp_path / "request.yaml").write_text(yaml.safe_dump({**request, "launch": {"nodes": 2, "processes_per_node": 1}}))
    place = {
        "ZENML_KUBERNETES_POD_COUNT": "2", "ZENML_KUBERNETES_MAIN_ADDRESS": "127.0.0.1",
        "ZENML_KUBERNETES_MAIN_PORT": str(free_port()),
    }  # fmt: skip
    pods = [start(tmp_path, "pods", JOB_COMPLETION_INDEX=str(index), **place) for index in (1, 0)]
    shown = [pod.communicate(timeout=120)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], "\n".join(shown)
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("alone", "pods"))
    assert one["weights_sha256"] == two["weights_sha256"] is not None, alone
    assert "step 4/4" in shown[1]


def on_two_nodes(folder: Path, output: str) -> tuple[list[int], list[str]]:
    """Run the request in a folder as two nodes of one process; return their exit codes and what they have written."""
    place = {
        "ZENML_KUBERNETES_POD_COUNT": "2", "ZENML_KUBERNETES_MAIN_ADDRESS": "127.0.0.1",
        "ZENML_KUBERNETES_MAIN_PORT": str(free_port()),
    }  # fmt: skip
    pods = [start(folder, output, JOB_COMPLETION_INDEX=str(index), **place) for index in (0, 1)]
    shown = [pod.communicate(timeout=120)[0] for pod in pods]
    return [pod.returncode for pod in pods], shown


def test_each_node_reads_its_share_of_the_files(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """The oracle is one machine with a file in which the batches of the nodes stand in turn: the same weights."""
    (tmp_path / "rows").mkdir()
    files = [pair_rows(size, start) for size, start in ((12, 0), (20, 100), (9, 200))]
    for number, rows in enumerate(files):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"rows/{number}.parquet")
    shares = files[1], [*files[0], *files[2]]
    in_turn = [rows[start : start + 4] for start in range(0, 20, 4) for rows in shares]
    pq.write_table(pa.Table.from_pylist(list(chain.from_iterable(in_turn))), tmp_path / "in_turn.parquet")
    columns = {"anchor": "anchor", "positive": "positive"}
    request = request_of(
        data={"read": "per_node", "train": {"docs": {"path": "rows/*.parquet", "columns": columns}}},
        launch={"nodes": 2, "processes_per_node": 1},
        arguments={"max_steps": -1, "num_train_epochs": 1, "per_device_train_batch_size": 4, "save_strategy": "no",
                   "use_cpu": True, "train_sampling_strategy": "sequential"},
    )  # fmt: skip
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request))
    write_all(tmp_path / "rows")
    codes, shown = on_two_nodes(tmp_path, "nodes")
    assert codes == [0, 0], "\n".join(shown)
    alone = {**request, "data": {"train": {"docs": {"path": "in_turn.parquet", "columns": columns}}},
             "launch": {"processes_per_node": 2}}  # fmt: skip
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(alone))
    start(tmp_path, "alone").communicate(timeout=120)
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("alone", "nodes"))
    assert one["weights_sha256"] == two["weights_sha256"] is not None
    assert two["train_steps"] == 5

    # A file of one node has other texts than its facts say: both nodes end, and nothing is trained.
    other = tmp_path / "rows/_facts/2.parquet"
    facts, record = pq.read_table(other), json.loads((pq.read_metadata(other).metadata or {})[b"embedstep"])
    record["columns"]["anchor"]["digest"] = "0" * 64
    with pq.ParquetWriter(other, facts.schema) as writer:
        writer.write_table(facts)
        writer.add_key_value_metadata({"embedstep": json.dumps(record)})
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request))
    codes, shown = on_two_nodes(tmp_path, "changed")
    assert codes == [2, 2], "\n".join(shown)
    assert "column 'anchor' of rows/2.parquet has changed since its facts were written" in shown[0]
    assert json.loads((tmp_path / "changed/result.json").read_text())["exit_code"] == 2


def test_a_machine_of_many_without_its_rank_is_refused(
    request_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request_of(launch={"nodes": 2})))
    process = start(tmp_path, "out")
    shown = process.communicate(timeout=60)[0]
    assert process.returncode == 2
    assert (
        "launch.nodes: is 2, and the environment does not say which node this is: set PET_NNODES, PET_NODE_RANK"
        in shown
    )
    process = start(tmp_path, "out", PET_NNODES="3", PET_NODE_RANK="0", PET_MASTER_ADDR="a", PET_MASTER_PORT="1",
                    PET_RDZV_ID="x")  # fmt: skip
    shown = process.communicate(timeout=60)[0]
    assert process.returncode == 3
    assert "launch.nodes is 2, and the environment says 3" in shown
