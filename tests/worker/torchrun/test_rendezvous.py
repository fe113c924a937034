"""Nodes that wait for each other, with real processes on one machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedstep.worker.torchrun import rendezvous

pytestmark = pytest.mark.torchrun

NODE = str(Path(__file__).with_name("waiting_node.py"))


def free_port() -> int:
    """A port with a free one above it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]) - 1


@contextmanager
def node(
    rank: int, port: int, *, nodes: int = 2, seconds: float = 60, work: float = 3, code: int = 0,
    address: str = "127.0.0.1", ahead: float = 0, with_errors: bool = False,
) -> Iterator[subprocess.Popen[str]]:  # fmt: skip
    command = [sys.executable, NODE, address, *map(str, (rank, nodes, port, seconds, work, code))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if with_errors else subprocess.DEVNULL, text=True,
        env={**os.environ, "AHEAD": str(ahead)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=90)
    return process.returncode, output


def test_two_nodes_meet_and_end_well() -> None:
    port = free_port()
    with node(0, port, work=1) as first, node(1, port, work=6) as second:
        assert end(second) == (0, "together\nlost: \n")
        assert end(first) == (0, "together\nlost: \n")


def test_a_node_that_does_not_join_is_named() -> None:
    with node(0, port := free_port(), nodes=3, seconds=8) as first, node(2, port, nodes=3, seconds=8):
        code, output = end(first)
    assert code == 3
    assert output == f"node 1 of 3 did not join at 127.0.0.1:{port + 1} within 8 s\n"


def test_a_name_that_does_not_resolve_is_reported() -> None:
    with node(1, free_port(), seconds=2, address="nobody.invalid") as second:
        code, output = end(second)
    assert code == 3
    assert output.startswith("the name of node 0, nobody.invalid, did not resolve within 2 s: ")


def test_a_node_that_is_killed_ends_the_others() -> None:
    """Within the time for a heartbeat, and with the exit code for another attempt."""
    port = free_port()
    with node(0, port, work=80) as first, node(1, port, work=80) as second:
        assert first.stdout is not None
        assert first.stdout.readline() == "together\n"
        killed = time.monotonic()
        second.kill()
        assert end(first) == (75, "lost: no heartbeat from node 1 for 4 s\n")
        assert time.monotonic() - killed < 60


def test_a_node_that_loses_the_first_ends() -> None:
    port = free_port()
    with node(0, port, work=80) as first, node(1, port, work=80) as second:
        assert second.stdout is not None
        assert second.stdout.readline() == "together\n"
        first.kill()
        assert end(second) == (75, "lost: the first node is gone\n")


def test_a_first_node_that_answers_nothing_is_lost() -> None:
    """As when its machine vanishes: the connection stays open, and a request to the store blocks."""
    port = free_port()
    with node(0, port, work=80) as first, node(1, port, work=80) as second:
        assert second.stdout is not None
        assert second.stdout.readline() == "together\n"
        first.send_signal(signal.SIGSTOP)
        assert end(second) == (75, "lost: no heartbeat from the first node for 4 s\n")


def test_a_node_that_fails_ends_the_others() -> None:
    """Both others, of three."""
    port = free_port()
    with (
        node(0, port, nodes=3, work=80) as first,
        node(1, port, nodes=3, work=2, code=4) as second,
        node(2, port, nodes=3, work=80) as third,
    ):
        assert end(second)[0] == 4
        for other in (first, third):
            assert end(other) == (75, "together\nlost: node 1 has ended with code 4\n")


def test_a_name_that_resolves_later_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A headless service knows a pod's name only when that pod runs."""
    asked: list[str] = []

    def getaddrinfo(name: str, port: None) -> list[object]:
        asked.append(name)
        if len(asked) < 4:
            raise socket.gaierror("Name or service not known")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    rendezvous._wait_for_name("job-node-0-0", time.monotonic() + 60, 60)
    assert asked == ["job-node-0-0"] * 4


def test_clocks_that_differ_are_reported() -> None:
    port = free_port()
    with (
        node(0, port, nodes=3, with_errors=True) as first,
        node(1, port, nodes=3, ahead=1),
        node(2, port, nodes=3, ahead=-120),
    ):
        code, output = end(first)
    assert code == 0
    assert [line for line in output.splitlines() if "clock" in line] == [
        "the clock of node 2 is 120 s behind that of node 0; synchronize it with NTP"
    ]


def test_a_port_in_use_is_reported() -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("", port))
        other.listen()
        with node(0, port) as first:
            message = f"port {port} is in use on node 0; choose another (PET_MASTER_PORT)\n"
            assert end(first) == (3, message)
