"""Each node reads its share, and a failure of one ends all; `tests/distributed/test_nodes.py` does it for real."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore

from embedstep.errors import CannotStartError, EmbedstepError, InvalidRequestError, PeerLostError, Problem
from embedstep.launch.nodes import NodeInfo
from embedstep.output.folder import OutputFolder
from embedstep.worker.torchrun import shares
from embedstep.worker.torchrun.rendezvous import Rendezvous
from tests.worker.torchrun.test_rendezvous import free_port

pytestmark = pytest.mark.torchrun


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, EmbedstepError]], list[Any]]:
    """Returns a function that lets three nodes read, of which some fail, and returns how each has ended."""
    for name in ("plan", "request"):
        (tmp_path / f"{name}.json").write_text("{}")
    item = type("Item", (), {"node_rows": (1, 1, 1)})
    monkeypatch.setattr(shares, "plan_from_json", lambda data: type("Plan", (), {"datasets": (item,)}))
    monkeypatch.setattr(shares, "request_from_json", lambda data: None)

    def read(errors: dict[int, EmbedstepError]) -> list[Any]:
        def write(request: Any, plan: Any, node: int) -> None:
            if node in errors:
                raise errors[node]

        monkeypatch.setattr(shares, "write_shares", write)
        port = free_port()
        ends: list[Any] = [None, None, None]
        server = TCPStore("127.0.0.1", port, None, True, wait_for_workers=False)

        def run(rank: int) -> None:
            group = NodeInfo(nodes=3, rank=rank, address="127.0.0.1", port=port - 1)
            try:
                shares.read_shares(OutputFolder(tmp_path), group, Rendezvous(group, lambda reason: None))
            except EmbedstepError as error:
                ends[rank] = (error.exit_code, str(error))

        threads = [threading.Thread(target=run, args=(rank,)) for rank in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        del server
        return ends

    return read


def test_all_nodes_go_on_when_all_have_read(read: Callable[..., list[Any]]) -> None:
    assert read({}) == [None, None, None]


def test_the_problems_of_one_node_end_all(read: Callable[..., list[Any]]) -> None:
    problems = InvalidRequestError([Problem("data.train.docs.path", "a.parquet has changed"), Problem("", "and more")])
    assert read({2: problems}) == [(2, "data.train.docs.path: a.parquet has changed\nand more")] * 3


def test_a_full_disk_may_be_tried_again(read: Callable[..., list[Any]]) -> None:
    assert read({1: CannotStartError("the disk is full")}) == [(3, "the disk is full")] * 3


def test_a_first_node_that_is_gone_is_a_lost_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plan", "request"):
        (tmp_path / f"{name}.json").write_text("{}")
    item = type("Item", (), {"node_rows": (1, 1)})
    monkeypatch.setattr(shares, "plan_from_json", lambda data: type("Plan", (), {"datasets": (item,)}))
    monkeypatch.setattr(shares, "request_from_json", lambda data: None)
    monkeypatch.setattr(shares, "write_shares", lambda request, plan, node: None)
    port = free_port()
    server: Any = TCPStore("127.0.0.1", port, None, True, wait_for_workers=False)
    group = NodeInfo(nodes=2, rank=1, address="127.0.0.1", port=port - 1)
    store = Rendezvous(group, lambda reason: None).connect()
    del server
    peers: Any = type("Peers", (), {"connect": lambda self: store})()
    with pytest.raises(PeerLostError, match="the first node was lost while the nodes read their rows"):
        shares.read_shares(OutputFolder(tmp_path), group, peers)


def test_nothing_is_read_where_the_first_node_has_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({}))
    item = type("Item", (), {"node_rows": ()})
    monkeypatch.setattr(shares, "plan_from_json", lambda data: type("Plan", (), {"datasets": (item,)}))
    peers: Any = None
    shares.read_shares(OutputFolder(tmp_path), NodeInfo(nodes=2, rank=0, address="a", port=1), peers)
