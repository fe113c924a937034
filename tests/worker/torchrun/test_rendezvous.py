"""Nodes that wait for each other, with real processes on one machine."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from embedstep.errors import CannotStartError
from embedstep.launch.nodes import NodeInfo
from embedstep.worker.torchrun import rendezvous

pytestmark = pytest.mark.torchrun

NODE = str(Path(__file__).with_name("waiting_node.py"))


def free_port() -> int:
    """A port with a free one above it, below those that the kernel gives to outgoing connections at any moment."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000, 2)
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("", port))
            other.bind(("", port + 1))
            return port


@contextmanager
def node(
    rank: int, port: int, *, nodes: int = 2, seconds: float = 60, work: float = 3, code: int = 0,
    address: str = "127.0.0.1", with_errors: bool = False, **environ: str,
) -> Iterator[subprocess.Popen[str]]:  # fmt: skip
    command = [sys.executable, NODE, address, *map(str, (rank, nodes, port, seconds, work, code))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if with_errors else subprocess.DEVNULL, text=True,
        env={**os.environ, **environ},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=90)
    return process.returncode, output.removeprefix("serves\n")


def read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if found == f"{line}\n":
            return
    pytest.fail(f"ended without the line {line!r}")


def test_two_nodes_meet_and_end_well() -> None:
    port = free_port()
    with node(0, port, work=1) as first, node(1, port, work=6) as second:
        assert end(second) == (0, "together\nlost: \n")
        assert end(first) == (0, "together\nlost: \n")


def test_a_node_that_does_not_join_is_named() -> None:
    with node(0, port := free_port(), nodes=3, seconds=8) as first, node(2, port, nodes=3, seconds=8) as third:
        code, output = end(first)
        assert end(third) == (3, "ended: 3\n")
    assert code == 3
    assert output == f"node 1 of 3 did not join at 127.0.0.1:{port + 1} within 8 s\n"


def test_others_wait_while_the_first_node_plans() -> None:
    """For longer than they wait for its answer, and one that is started again meanwhile takes its place."""
    port = free_port()
    with node(0, port, work=1, PLANS="12") as first:
        read_until(first, "serves")
        with node(1, port, seconds=3) as second:
            time.sleep(5)
            assert second.poll() is None
        with node(1, port, seconds=3, work=1) as second:
            assert end(second) == (0, "together\nlost: \n")
            assert end(first) == (0, "together\nlost: \n")


def test_the_others_end_with_a_first_node_that_trains_nothing() -> None:
    """Also one that comes a moment later than the refusal."""
    port = free_port()
    with node(0, port, nodes=3, REFUSES="2") as first, node(1, port, nodes=3) as second:
        read_until(first, "serves")
        time.sleep(2)
        with node(2, port, nodes=3) as third:
            assert end(third) == end(second) == (2, "ended: 2\n")
            assert end(first)[0] == 2


def test_a_first_node_that_is_killed_while_it_plans_ends_the_others() -> None:
    port = free_port()
    with node(0, port, PLANS="80") as first, node(1, port) as second:
        read_until(first, "serves")
        time.sleep(4)
        first.kill()
        assert end(second) == (75, "the first node is gone\n")


def test_a_first_node_that_answers_nothing_while_it_plans_is_lost() -> None:
    port = free_port()
    with node(0, port, PLANS="80") as first, node(1, port) as second:
        read_until(first, "serves")
        time.sleep(4)
        first.send_signal(signal.SIGSTOP)
        assert end(second) == (75, "no heartbeat from the first node for 4 s\n")


@pytest.mark.parametrize(
    ("job", "reason"), [("job", "it trains without this node"), ("other", "it trains another request")]
)
def test_a_training_of_others_is_not_joined(job: str, reason: str) -> None:
    """As by a pod that takes the place of one which is not missed yet: all nodes have to start again."""
    port = free_port()
    with node(0, port, work=30) as first, node(1, port, work=30):
        read_until(first, "together")
        with node(1, port, seconds=2, JOB=job) as late:
            expected = f"node 0 did not answer at 127.0.0.1:{port + 1} within 2 s; {reason}\n"
            assert end(late) == (3, expected)


def test_the_next_start_of_the_first_node_is_joined() -> None:
    """By nodes whose last training has ended earlier than that of the first node."""
    port = free_port()
    with node(0, port, work=80) as first, node(1, port, work=80):
        read_until(first, "together")
        with node(1, port, work=1) as second:
            time.sleep(4)
            first.kill()
            first.wait()
            with node(0, port, work=1) as again:
                assert end(second) == (0, "together\nlost: \n")
                assert end(again) == (0, "together\nlost: \n")


def test_a_name_that_does_not_resolve_is_reported() -> None:
    with node(1, port := free_port(), seconds=2, address="nobody.invalid") as second:
        code, output = end(second)
    assert code == 3
    expected = f"node 0 did not answer at nobody.invalid:{port + 1} within 2 s; its name does not resolve: "
    assert output.startswith(expected)


def test_a_first_node_that_does_not_answer_is_reported() -> None:
    with node(1, port := free_port(), seconds=2) as second:
        reason = "is its pod running, and does a network policy separate the nodes?"
        assert end(second) == (3, f"node 0 did not answer at 127.0.0.1:{port + 1} within 2 s; {reason}\n")


def test_a_node_that_is_killed_ends_the_others() -> None:
    """Within the time for a heartbeat, and with the exit code for another attempt."""
    port = free_port()
    with node(0, port, work=80) as first, node(1, port, work=80) as second:
        read_until(first, "together")
        killed = time.monotonic()
        second.kill()
        assert end(first) == (75, "lost: no heartbeat from node 1 for 4 s\n")
        assert time.monotonic() - killed < 60


def test_a_node_that_loses_the_first_ends() -> None:
    port = free_port()
    with node(0, port, work=80) as first, node(1, port, work=80) as second:
        read_until(second, "together")
        first.kill()
        assert end(second) == (75, "lost: the first node is gone\n")


def test_a_first_node_that_answers_nothing_is_lost() -> None:
    """As when its machine vanishes: the connection stays open, and a request to the store blocks."""
    port = free_port()
    with node(0, port, work=80) as first, node(1, port, work=80) as second:
        read_until(second, "together")
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

    def resolve(address: tuple[str, int], seconds: float) -> socket.socket:
        asked.append(address[0])
        raise OSError if len(asked) > 3 else socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", resolve)
    second = NodeInfo(nodes=2, rank=1, address="job-node-0-0", port=29400)
    with pytest.raises(CannotStartError, match="is its pod running"):
        rendezvous.Rendezvous(second, print).join(2)
    assert asked[:4] == ["job-node-0-0"] * 4


def test_clocks_that_differ_are_reported() -> None:
    port = free_port()
    with (
        node(0, port, nodes=3, with_errors=True) as first,
        node(1, port, nodes=3, AHEAD="1"),
        node(2, port, nodes=3, AHEAD="-120"),
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
