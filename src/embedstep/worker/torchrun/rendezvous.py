"""The nodes of a group before, beside and after torchrun: they wait for each other, and none trains on alone.

torchrun's own agents say "connection refused" or hang until a time-out when a node is late, has no name yet or is lost.
Here the first node keeps a small store (torch's TCPStore) one port above torchrun's: each node writes that it is there,
then that it is alive, then how it has ended.
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

_PAUSE = 0.5
_BEAT = 2.0
_SILENCE = 30.0
"""Seconds without a word after which a node is lost."""
_APART = 5.0
"""Seconds by which clocks may differ."""
_LAST = 60.0
"""Seconds that the first node waits at the end for the others to say how they have ended."""


class Rendezvous:
    """The store of a group, seen by one of its nodes."""

    def __init__(self, group: NodeInfo, store: TCPStore) -> None:
        """Take part in what `meet` has opened."""
        self._group = group
        self._store = store
        self._ended = threading.Event()
        self._looked = time.monotonic()
        self._heard = {rank: (b"", time.monotonic()) for rank in self._others()}
        self.lost = ""
        self.cause: Failure | None = None

    def _others(self) -> Iterator[int]:
        return (rank for rank in range(self._group.nodes) if rank != self._group.rank)

    def watch(self, end_processes: Callable[[str], None]) -> None:
        """Say that this node is alive, and call `end_processes` once, with why, when another is lost or has failed."""
        looking = threading.Thread(target=self._keep_looking, daemon=True, name="meeting, looking")
        looking.start()
        while not self._ended.wait(_BEAT):
            # A machine that goes without a word leaves a question to its store unanswered for many minutes.
            if time.monotonic() - self._looked > _SILENCE and not self.lost:
                self.lost = f"the first node has not been heard of for {_SILENCE:.0f} s"
            if self.lost:
                end_processes(self.lost)
                return

    def _keep_looking(self) -> None:
        beats = 0
        while not self.lost and not self._ended.wait(_BEAT):
            beats += 1
            self.lost = self._look(beats)
            self._looked = time.monotonic()

    def _look(self, beats: int) -> str:
        """Return which node is lost, or nothing."""
        try:
            self._store.set(f"alive/{self._group.rank}", str(beats))
            for rank in self._others():
                if self._store.check([f"end/{rank}"]):
                    end = json.loads(self._store.get(f"end/{rank}"))
                    if end["code"] != 0:
                        self.cause = failure_from_json(end["cause"]) if end["cause"] else None
                        return f"node {rank} has ended with code {end['code']}"
                    continue
                value = self._store.get(f"alive/{rank}")
                before, since = self._heard[rank]
                if value != before:
                    self._heard[rank] = value, time.monotonic()
                elif time.monotonic() - since > _SILENCE:
                    return f"node {rank} has not been heard of for {_SILENCE:.0f} s"
        except (RuntimeError, OSError):
            return "" if self._ended.is_set() else "the first node is gone"
        return ""

    def wait_for_cause(self) -> None:
        """Wait a moment for another node to say that it has failed, where this one has lost it in an exchange."""
        deadline = time.monotonic() + 3 * _BEAT
        while not self.lost and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def end(self, code: int, cause: Failure | None = None) -> None:
        """Say how this node has ended; the first one waits for the others, whose store it keeps.

        Args:
            code: the exit code of its processes.
            cause: the first cause, where the first node cannot read it by itself.
        """
        self._ended.set()
        if time.monotonic() - self._looked > _SILENCE:
            return  # a question to the store is still without an answer, and another would wait behind it
        try:
            told = {"code": code, "cause": asdict(cause) if cause else None}
            self._store.set(f"end/{self._group.rank}", json.dumps(told))
            deadline = time.monotonic() + _LAST
            ends = [f"end/{rank}" for rank in self._others()]
            # A node that was lost says no more, and one that was told to end has no minute.
            waits = self._group.is_first and code == 0 and not self.lost
            while waits and not self._store.check(ends) and time.monotonic() < deadline:
                time.sleep(_PAUSE)
        except (RuntimeError, OSError):
            return  # the first node has gone, and with it whoever would hear


@contextmanager
def rendezvous(
    group: NodeInfo, seconds: float, end_processes: Callable[[str], None], prepare: Callable[[TCPStore], None]
) -> Iterator[Rendezvous | None]:
    """Wait for all nodes, then watch them.

    Args:
        group: the place of this node; alone there is nothing to wait for, and None is given.
        seconds: how long to wait for the others.
        end_processes: ends the processes of this node, given why; called when it loses another.
        prepare: what the nodes do together before that, by their store.

    Raises:
        CannotStartError: not all nodes have come.
    """
    if group.nodes == 1:
        yield None
        return
    store = _met(group, seconds)
    _compare_clocks(group, store)
    prepare(store)
    meeting_point = Rendezvous(group, store)
    threading.Thread(target=meeting_point.watch, args=(end_processes,), daemon=True, name="meeting").start()
    yield meeting_point


def _compare_clocks(group: NodeInfo, store: TCPStore) -> None:
    """Tell clocks that differ: by them the first cause is found, and a tracker orders what it is sent.

    All nodes have seen each other within half a second.
    """
    store.set(f"clock/{group.rank}", str(time.time()))
    if group.is_first:
        clocks = [float(store.get(f"clock/{rank}")) for rank in range(group.nodes)]
        for rank, apart in enumerate(clock - clocks[0] for clock in clocks):
            if abs(apart) > _APART:
                of_first = f"{abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} that of node 0"
                sys.stderr.write(f"the clock of node {rank} is {of_first}; let NTP set it\n")


def _require_free(port: int) -> None:
    """Raise CannotStartError where something else listens at torchrun's port; that would show a traceback."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except OSError as error:
        raise CannotStartError(f"port {port} is in use on node 0; choose another (PET_MASTER_PORT)") from error


def _met(group: NodeInfo, seconds: float) -> TCPStore:
    deadline = time.monotonic() + seconds
    port = group.port + 1
    if group.is_first:
        _require_free(group.port)
    _wait_for_name(group.address, deadline, seconds)
    left = timedelta(seconds=max(1.0, deadline - time.monotonic()))
    try:
        store = TCPStore(group.address, port, None, group.is_first, left, wait_for_workers=False)
        store.set(f"alive/{group.rank}", socket.gethostname())
    except (RuntimeError, OSError) as error:
        if group.is_first:
            raise CannotStartError(f"port {port} cannot be opened on {group.address}: {first_line(error)}") from error
        told = f"node 0 did not answer at {group.address}:{port} within {seconds:.0f} s"
        raise CannotStartError(f"{told}; does its pod run, and does a policy keep the nodes apart?") from error
    missing = [rank for rank in range(group.nodes) if rank != group.rank]
    try:
        while missing := [rank for rank in missing if not store.check([f"alive/{rank}"])]:
            if time.monotonic() > deadline:
                told = ", ".join(f"node {rank}" for rank in missing)
                raise CannotStartError(
                    f"{told} of {group.nodes} did not come to {group.address}:{port} in {seconds:.0f} s"
                )
            time.sleep(_PAUSE)
    except (RuntimeError, OSError) as error:
        raise CannotStartError(f"node 0 has left {group.address}:{port} before all nodes had come") from error
    return store


def _wait_for_name(name: str, deadline: float, seconds: float) -> None:
    """Wait until the first node's name is known: a cluster makes it once that pod runs."""
    while True:
        try:
            socket.getaddrinfo(name, None)
        except OSError as error:
            if time.monotonic() > deadline:
                told = f"the name of node 0, {name}, is not known after {seconds:.0f} s: {error}"
                raise CannotStartError(told) from error
            time.sleep(_PAUSE)
        else:
            return
