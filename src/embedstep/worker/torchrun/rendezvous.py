"""Nodes wait for each other before torchrun starts, and watch each other while it runs, so that none trains alone.

torchrun's own agents report "connection refused" or hang until a time-out when a node is late, has no DNS name yet or
is lost. Here the first node serves a small store (torch's TCPStore) one port above torchrun's. Each node writes there
that it has joined, then a heartbeat, then its exit code.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta

from torch.distributed import TCPStore

from embedstep.errors import CannotStartError, first_line
from embedstep.launch.nodes import NodeInfo
from embedstep.output.result import Failure, failure_from_json

_POLL_SECONDS = 0.5
_HEARTBEAT_SECONDS = 2.0
_LOST_SECONDS = 30.0
"""Time without a heartbeat after which a node is lost."""
_CLOCK_TOLERANCE = 5.0
"""Seconds by which clocks may differ."""
_END_SECONDS = 60.0
"""How long the first node, which serves the store, waits at the end for the exit codes of the others."""


class Rendezvous:
    """The nodes that have joined, seen by one of them.

    Attributes:
        lost_peer: which node was lost or has failed, for a person; empty while all are well.
        cause: the failure of that node, where it has sent one.
    """

    def __init__(self, group: NodeInfo, store: TCPStore) -> None:
        """Use a store that all nodes have joined."""
        self._group = group
        self._store = store
        self._ended = threading.Event()
        self._answered = time.monotonic()
        self._heartbeats = {rank: (b"", time.monotonic()) for rank in self._others()}
        self.lost_peer = ""
        self.cause: Failure | None = None

    def _others(self) -> Iterator[int]:
        return (rank for rank in range(self._group.nodes) if rank != self._group.rank)

    def watch(self, end_processes: Callable[[str], None]) -> None:
        """Send heartbeats, and call `end_processes` once with the reason when another node is lost or has failed."""
        threading.Thread(target=self._exchange, daemon=True, name="rendezvous store").start()
        while not self._ended.wait(_HEARTBEAT_SECONDS):
            # If the first machine vanishes, a request to its store blocks for many minutes.
            if time.monotonic() - self._answered > _LOST_SECONDS and not self.lost_peer:
                self.lost_peer = f"no heartbeat from the first node for {_LOST_SECONDS:.0f} s"
            if self.lost_peer:
                end_processes(self.lost_peer)
                return

    def _exchange(self) -> None:
        beats = 0
        while not self.lost_peer and not self._ended.wait(_HEARTBEAT_SECONDS):
            beats += 1
            self.lost_peer = self._find_lost(beats)
            self._answered = time.monotonic()

    def _find_lost(self, beats: int) -> str:
        """Write this node's heartbeat and return which other node is lost, or an empty text."""
        try:
            self._store.set(f"alive/{self._group.rank}", str(beats))
            for rank in self._others():
                if self._store.check([f"end/{rank}"]):
                    end = json.loads(self._store.get(f"end/{rank}"))
                    if end["code"] != 0:
                        self.cause = failure_from_json(end["cause"]) if end["cause"] else None
                        return f"node {rank} has ended with code {end['code']}"
                    continue
                beat = self._store.get(f"alive/{rank}")
                before, since = self._heartbeats[rank]
                if beat != before:
                    self._heartbeats[rank] = beat, time.monotonic()
                elif time.monotonic() - since > _LOST_SECONDS:
                    return f"no heartbeat from node {rank} for {_LOST_SECONDS:.0f} s"
        except (RuntimeError, OSError):
            return "" if self._ended.is_set() else "the first node is gone"
        return ""

    def wait_for_cause(self) -> None:
        """Give another node a moment to report its failure, which this one noticed only as a broken collective."""
        deadline = time.monotonic() + 3 * _HEARTBEAT_SECONDS
        while not self.lost_peer and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def end(self, code: int, cause: Failure | None = None) -> None:
        """Report how this node has ended; the first node waits for the others, because it serves the store.

        Args:
            code: the exit code of its processes.
            cause: the first cause, where the first node cannot read this node's files.
        """
        self._ended.set()
        if time.monotonic() - self._answered > _LOST_SECONDS:
            return  # a request to the store is still blocked, and another would wait behind it
        try:
            end = {"code": code, "cause": asdict(cause) if cause else None}
            self._store.set(f"end/{self._group.rank}", json.dumps(end))
            deadline = time.monotonic() + _END_SECONDS
            ends = [f"end/{rank}" for rank in self._others()]
            # A lost node reports nothing, and an interrupted one has no minute to wait.
            waits = self._group.is_first and code == 0 and not self.lost_peer
            while waits and not self._store.check(ends) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        except (RuntimeError, OSError):
            return  # the first node has gone, and nobody could read it


@contextmanager
def rendezvous(
    group: NodeInfo, seconds: float, end_processes: Callable[[str], None], prepare: Callable[[TCPStore], None]
) -> Iterator[Rendezvous | None]:
    """Wait for all nodes, let them prepare, then watch them.

    Args:
        group: the place of this node; a single node waits for nobody and gets None.
        seconds: how long to wait for the others.
        end_processes: ends the processes of this node, given the reason; called when another node is lost.
        prepare: what all nodes do with the store before they start.

    Raises:
        CannotStartError: not all nodes have joined.
    """
    if group.nodes == 1:
        yield None
        return
    store = _join(group, seconds)
    _compare_clocks(group, store)
    prepare(store)
    peers = Rendezvous(group, store)
    threading.Thread(target=peers.watch, args=(end_processes,), daemon=True, name="rendezvous").start()
    yield peers


def _compare_clocks(group: NodeInfo, store: TCPStore) -> None:
    """Warn of clocks that differ: the first cause is found by their times, and a tracker sorts records by them.

    All nodes write theirs within half a second, because each has just seen all others.
    """
    store.set(f"clock/{group.rank}", str(time.time()))
    if group.is_first:
        clocks = [float(store.get(f"clock/{rank}")) for rank in range(group.nodes)]
        for rank, apart in enumerate(clock - clocks[0] for clock in clocks):
            if abs(apart) > _CLOCK_TOLERANCE:
                of_first = f"{abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} that of node 0"
                sys.stderr.write(f"the clock of node {rank} is {of_first}; synchronize it with NTP\n")


def _require_free(port: int) -> None:
    """Raise CannotStartError if torchrun's port is taken; torchrun itself would show a traceback."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except OSError as error:
        raise CannotStartError(f"port {port} is in use on node 0; choose another (PET_MASTER_PORT)") from error


def _join(group: NodeInfo, seconds: float) -> TCPStore:
    """Serve the store or connect to it, and wait until every node has joined."""
    deadline = time.monotonic() + seconds
    if group.is_first:
        _require_free(group.port)
    _wait_for_name(group.address, deadline, seconds)
    store = _open_store(group, max(1.0, deadline - time.monotonic()), seconds)
    missing = [rank for rank in range(group.nodes) if rank != group.rank]
    try:
        while missing := [rank for rank in missing if not store.check([f"alive/{rank}"])]:
            if time.monotonic() > deadline:
                names = ", ".join(f"node {rank}" for rank in missing)
                place = f"{group.address}:{group.port + 1}"
                raise CannotStartError(f"{names} of {group.nodes} did not join at {place} within {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)
    except (RuntimeError, OSError) as error:
        place = f"{group.address}:{group.port + 1}"
        raise CannotStartError(f"node 0 left {place} before all nodes had joined") from error
    return store


def _open_store(group: NodeInfo, left: float, seconds: float) -> TCPStore:
    port = group.port + 1
    try:
        store = TCPStore(group.address, port, None, group.is_first, timedelta(seconds=left), wait_for_workers=False)
        store.set(f"alive/{group.rank}", socket.gethostname())
    except (RuntimeError, OSError) as error:
        if group.is_first:
            raise CannotStartError(f"port {port} cannot be opened on {group.address}: {first_line(error)}") from error
        raise CannotStartError(
            f"node 0 did not answer at {group.address}:{port} within {seconds:.0f} s; is its pod running, and does a "
            "network policy separate the nodes?"
        ) from error
    return store


def _wait_for_name(name: str, deadline: float, seconds: float) -> None:
    """Wait until the first node's name resolves: a cluster creates it when that pod runs."""
    while True:
        try:
            socket.getaddrinfo(name, None)
        except OSError as error:
            if time.monotonic() > deadline:
                reason = f"the name of node 0, {name}, did not resolve within {seconds:.0f} s: {error}"
                raise CannotStartError(reason) from error
            time.sleep(_POLL_SECONDS)
        else:
            return
