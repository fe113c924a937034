"""Nodes join before torchrun starts and watch each other while it runs, so that none trains alone.

torchrun's own agents report "connection refused" or hang until a time-out when a node is late, has no DNS name yet or
is lost. Here the first node serves a small store (torch's TCPStore) one port above torchrun's, from the moment its step
begins. The others join while it plans, write heartbeats there, and read whether to train or that it has ended.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from datetime import timedelta

from torch.distributed import TCPStore

from embedstep.errors import INTERRUPTED, CannotStartError, PeerLostError, first_line
from embedstep.launch.nodes import NodeInfo
from embedstep.output.result import Failure, failure_from_json

_POLL_SECONDS = 0.2
_HEARTBEAT_SECONDS = 2.0
_CONNECT_SECONDS = 5.0
_LOST_SECONDS = 30.0
"""Time without a heartbeat after which a node is lost."""
_TIMEOUT = timedelta(minutes=5)
"""How long a node may wait for what another one writes, such as that it has received all files."""
_CLOCK_TOLERANCE = 5.0
"""Seconds by which clocks may differ."""
_END_SECONDS = 60.0
"""How long the first node, which serves the store, waits at the end of a training for the exit codes of the others."""
_REFUSED_SECONDS = 30.0
"""How long it waits where nothing was trained: the others may still be starting."""
_INTERRUPTED_SECONDS = 5.0
"""How long it waits where it was interrupted, and has little time to end."""
_TRAIN = "train"
"""State in which the nodes train; the first node has no state while it plans."""


class Rendezvous:
    """The nodes of a training, seen by one of them.

    The first node calls `serve`, then `start_all` or `end_all`; the others call `join`. From then on nodes watch each
    other until `end`.

    Attributes:
        lost_peer: which node was lost or has failed, for a person; empty while all are well.
        cause: the failure of that node, where it has sent one.
    """

    def __init__(self, group: NodeInfo, end_processes: Callable[[str], None]) -> None:
        """Know the place of this node among several.

        Args:
            group: this node.
            end_processes: ends the processes of this node; called once with the reason when another node is lost or
                has failed.
        """
        self._group = group
        self._end_processes = end_processes
        self._place = f"{group.address}:{group.port + 1}"
        self._store: TCPStore
        self._state = ""
        self._ended = threading.Event()
        self._answered = time.monotonic()
        self._heartbeats: dict[int, tuple[bytes, float]] = {}
        self.lost_peer = ""
        self.cause: Failure | None = None

    def _others(self) -> Iterator[int]:
        return (rank for rank in range(self._group.nodes) if rank != self._group.rank)

    def connect(self, *, serves: bool = False) -> TCPStore:
        """Return a new connection to the store: a request that waits blocks the others of its connection."""
        return TCPStore(self._group.address, self._group.port + 1, None, serves, _TIMEOUT, wait_for_workers=False)

    def serve(self) -> None:
        """Serve the store on the first node, so that the others can join.

        Raises:
            CannotStartError: its port or that of torchrun is in use.
        """
        _require_free(self._group.port)
        try:
            self._store = self.connect(serves=True)
        except (RuntimeError, OSError) as error:
            raise CannotStartError(
                f"port {self._group.port + 1} cannot be opened on {self._group.address}: {first_line(error)}"
            ) from error
        self._store.set("job", self._group.job)

    def start_all(self, seconds: float) -> None:
        """Wait until all nodes have joined the first one, let them train, and watch them.

        Args:
            seconds: how long to wait for them, from now on.

        Raises:
            CannotStartError: not all nodes have joined.
        """
        deadline = time.monotonic() + seconds
        missing = list(self._others())
        for rank in missing:
            self._store.delete_key(f"alive/{rank}")  # a node may have joined and be lost by now
        while missing := [rank for rank in missing if not self._store.check([f"alive/{rank}"])]:
            if time.monotonic() > deadline:
                names = ", ".join(f"node {rank}" for rank in missing)
                self.end_all(CannotStartError.exit_code, missing)
                raise CannotStartError(
                    f"{names} of {self._group.nodes} did not join at {self._place} within {seconds:.0f} s"
                )
            time.sleep(_POLL_SECONDS)
        self._compare_clocks()
        self._state = _TRAIN
        self._store.set("state", _TRAIN)
        self._watch()

    def end_all(self, code: int, missing: Collection[int] = ()) -> None:
        """Report from the first node that nothing is trained, and serve that for a while: others may still start.

        Args:
            code: the exit code of the step.
            missing: nodes not to wait for.
        """
        self._store.set("state", str(code))
        self._wait_for_ends(_INTERRUPTED_SECONDS if code == INTERRUPTED else _REFUSED_SECONDS, missing)

    def join(self, seconds: float) -> int | None:
        """Join the first node and wait until it trains, as long as it is alive.

        Args:
            seconds: how long to wait for the first node to answer.

        Returns:
            None to train; the exit code of the step where it has ended without training.

        Raises:
            CannotStartError: the first node did not answer.
            PeerLostError: it was lost while it planned.
        """
        deadline = time.monotonic() + seconds
        while problem := self._try_to_join():
            if time.monotonic() > deadline:
                raise CannotStartError(f"node 0 did not answer at {self._place} within {seconds:.0f} s; {problem}")
            time.sleep(_POLL_SECONDS)
        self._watch()
        while not self._state:
            if self.lost_peer:
                raise PeerLostError(self.lost_peer)
            time.sleep(_POLL_SECONDS)
        return None if self._state == _TRAIN else int(self._state)

    def _try_to_join(self) -> str:
        """Connect to the store of a start that this node can take part in; return why there is none, or nothing."""
        try:
            # The store's own client could not be interrupted by a signal while it waits for an answer.
            socket.create_connection((self._group.address, self._group.port + 1), _CONNECT_SECONDS).close()
            self._store = self.connect()
            if self._store.get("job").decode() != self._group.job:
                return "it trains another request"
            # The processes of an earlier start may still be ending.
            return "it trains without this node" if self._read_state() == _TRAIN else ""
        except socket.gaierror as error:
            return f"its name does not resolve: {error.strerror}"  # a cluster creates the name when that pod runs
        except (RuntimeError, OSError):
            return "is its pod running, and does a network policy separate the nodes?"

    def _read_state(self) -> str:
        """Return what the first node does: `train`, the exit code without a training, or empty while it plans."""
        return self._store.get("state").decode() if self._store.check(["state"]) else ""

    def _watch(self) -> None:
        self._answered = time.monotonic()
        self._heartbeats = {rank: (b"", time.monotonic()) for rank in self._others()}
        for run, name in ((self._exchange, "rendezvous store"), (self._wait_for_loss, "rendezvous")):
            threading.Thread(target=run, daemon=True, name=name).start()

    def _wait_for_loss(self) -> None:
        """End the processes of this node when another is lost or has failed; `join` itself ends where none run yet."""
        while not self._ended.wait(_POLL_SECONDS):
            # If the first machine vanishes, a request to its store blocks for many minutes.
            if time.monotonic() - self._answered > _LOST_SECONDS and not self.lost_peer:
                self.lost_peer = f"no heartbeat from the first node for {_LOST_SECONDS:.0f} s"
            if self.lost_peer:
                if self._state == _TRAIN:
                    self._end_processes(self.lost_peer)
                return

    def _exchange(self) -> None:
        while not self.lost_peer and not self._ended.is_set():
            self.lost_peer = self._find_lost()
            self._answered = time.monotonic()
            self._ended.wait(_HEARTBEAT_SECONDS if self._state else _POLL_SECONDS)

    def _find_lost(self) -> str:
        """Write this node's heartbeat and return which other node is lost, or an empty text."""
        try:
            if not self._group.is_first:  # whose answers are its heartbeat
                self._store.set(f"alive/{self._group.rank}", str(time.time()))
            if not self._state:
                self._state = self._read_state()
                return ""
            return next(filter(None, map(self._find_end, self._others())), "")
        except (RuntimeError, OSError):
            return "" if self._ended.is_set() else "the first node is gone"

    def _find_end(self, rank: int) -> str:
        """Return how a node was lost or has failed, or an empty text."""
        if self._store.check([f"end/{rank}"]):
            end = json.loads(self._store.get(f"end/{rank}"))
            if end["code"] == 0:
                return ""
            self.cause = failure_from_json(end["cause"]) if end["cause"] else None
            return f"node {rank} has ended with code {end['code']}"
        if rank == 0:
            return ""
        beat = self._store.get(f"alive/{rank}")
        before, since = self._heartbeats[rank]
        if beat != before:
            self._heartbeats[rank] = beat, time.monotonic()
        elif time.monotonic() - since > _LOST_SECONDS:
            return f"no heartbeat from node {rank} for {_LOST_SECONDS:.0f} s"
        return ""

    def stop_watching(self) -> None:
        """Take no further end of another node for its loss."""
        self._ended.set()

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
        except (RuntimeError, OSError):
            return  # the first node has gone, and nobody could read it
        # A lost node reports nothing, and an interrupted one has no minute to wait.
        if self._group.is_first and code == 0 and not self.lost_peer:
            self._wait_for_ends(_END_SECONDS)

    def _wait_for_ends(self, seconds: float, missing: Collection[int] = ()) -> None:
        deadline = time.monotonic() + seconds
        ends = [f"end/{rank}" for rank in self._others() if rank not in missing]
        while ends and not self._store.check(ends) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _compare_clocks(self) -> None:
        """Warn of clocks that differ: the first cause is found by their times, and a tracker sorts records by them.

        Each heartbeat is a time, and at most two polls old when all nodes have joined.
        """
        for rank in self._others():
            apart = float(self._store.get(f"alive/{rank}")) - time.time()
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
