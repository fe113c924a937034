"""torchrun, with a record of how its ranks ended; see `main` for the arguments.

torchrun itself exits with code 1 and its own traceback whatever happened, and of a killed rank nothing else remains.
Its arguments are passed on unchanged; exit codes and signals of the ranks are written to `ranks-<node>.json`.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler import SubprocessHandler

from embedstep.errors import (
    FAILED,
    INTERRUPTED,
    OK,
    CannotStartError,
    EmbedstepError,
    PeerLostError,
    StepInterruptedError,
)
from embedstep.launch.failures import TORCHRUN, failure_from_error, first_failure, is_retryable
from embedstep.launch.instructions import RESTART, START_FILE, TRAIN
from embedstep.launch.nodes import SINGLE_NODE, NodeInfo
from embedstep.output.folder import OutputFolder
from embedstep.output.result import Failure, write_json
from embedstep.runtime.cgroups import CgroupMemory, cgroup_memory
from embedstep.runtime.process import ProcessEnd
from embedstep.runtime.secrets import redact
from embedstep.worker.interruption import ignore_signals
from embedstep.worker.torchrun.broadcast import broadcast_files
from embedstep.worker.torchrun.early_ranks import EarlyRanks
from embedstep.worker.torchrun.rendezvous import Rendezvous
from embedstep.worker.torchrun.shares import read_shares
from embedstep.worker.torchrun.shutdown import GracefulShutdown

_LAST_LINES, _LINE_CHARACTERS = 20, 500
"""How much of a failed rank's output is kept."""


def main(argv: list[str], instructions: "SimpleQueue[str]", ranks: EarlyRanks, before: CgroupMemory | None) -> int:
    """Run torchrun with `argv[5:]` and return the exit code of the rank that failed first, or RESTART.

    Args:
        argv: the output folder; whether it is `shared` by the nodes or each has its `own`; how long nodes wait for
            each other, in seconds; how long ranks have to save and end, in seconds; how many restarts the request
            allows; then torchrun's own arguments.
        instructions: what the launcher of a first node writes: `train`, or to the first of several nodes the exit code
            of a step that has ended without training.
        ranks: processes of this node that were started before torchrun was imported.
        before: memory of this node before it started any.
    """
    ranks.serve(SubprocessHandler)
    output, is_own, seconds = OutputFolder(Path(argv[0])), argv[1] == "own", float(argv[2])
    arguments = torchrun.parse_args(argv[5:])
    group = _node_info(arguments)
    # When it starts the ranks, torchrun would install handlers of its own in place of ours.
    arguments.signals_to_handle = "SIGQUIT"
    shutdown = GracefulShutdown(float(argv[3]))
    # torchrun's agent logs each failed rank with its own frames; `ranks-<node>.json` and the rank's output suffice.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    peers = None if group.nodes == 1 else Rendezvous(group, shutdown.peer_lost)
    try:
        if peers and (ended := _wait_for_start(peers, group, seconds, instructions)) is not None:
            return ended
        if peers and is_own:
            broadcast_files(output, group, peers.connect())
        if peers:
            read_shares(output, group, peers)
        # The output of ranks may hold secrets: it stays in a folder that only this user reads, while they run.
        with TemporaryDirectory(prefix="embedstep-") as logs:
            _log_ranks(arguments, logs)
            _announce_start(Path(logs) / "start", None if peers else instructions)
            code = _run(output, arguments, shutdown, logs, before)
        if peers is None:
            return code
        if is_own and group.is_first and code != OK and not shutdown.has_begun:
            peers.wait_for_cause()
        peers.end(code, _local_cause(output, code) if is_own and not group.is_first else None)
        if (reason := shutdown.lost_peer or peers.lost_peer) and code != OK:
            raise PeerLostError(reason)
        failure = None if code == OK else first_failure(output, ProcessEnd(code=code))
    except EmbedstepError as raised:
        is_peer = shutdown.lost_peer and isinstance(raised, StepInterruptedError)
        error = PeerLostError(shutdown.lost_peer) if is_peer else raised
        if not shutdown.has_begun and not is_peer:  # else it was shown already
            sys.stderr.write(f"{error}\n")
        if group.is_first:
            cause = peers.cause if peers and isinstance(error, PeerLostError) else None
            write_json(output.attempt / TORCHRUN, asdict(cause or failure_from_error(error)))
        code, failure = error.exit_code, failure_from_error(error)
    # The first node alone decides whether all start again, and serves that to the others.
    return RESTART if not group.is_first and int(argv[4]) > 0 and is_retryable(failure) else code


def _wait_for_start(peers: Rendezvous, group: NodeInfo, seconds: float, instructions: "SimpleQueue[str]") -> int | None:
    """Wait until all nodes train, and return None, or the exit code of a step that has ended without training."""
    if not group.is_first:
        if (code := peers.join(seconds)) is not None:
            sys.stderr.write(f"node 0 ended with code {code}\n")
            peers.end(code)
        return code
    refused = None
    try:
        peers.serve()
    except CannotStartError as error:
        refused = error  # reported with the attempt, whose folder is made before the instruction comes
    if (instruction := instructions.get()) != TRAIN:
        if refused is None:
            peers.end_all(int(instruction))
        return int(instruction)
    if refused is not None:
        raise refused
    peers.start_all(seconds)
    return None


def _announce_start(file: Path, instructions: "SimpleQueue[str] | None") -> None:
    """Let the ranks train once `file` exists: at once, or when the launcher of a single node says so.

    Until then they import their libraries, which takes longer than most plans.
    """
    os.environ[START_FILE] = str(file)
    if instructions is None:
        file.touch()
        return

    def wait() -> None:
        instructions.get()
        file.touch()

    threading.Thread(target=wait, daemon=True).start()


def _log_ranks(arguments: Any, folder: str) -> None:
    """Copy each rank's output to a file too: it is all that remains of a rank that is killed.

    On a terminal the first rank is left alone, because it draws a progress bar there.
    """
    arguments.log_dir = folder
    ranks = range(int(arguments.nproc_per_node))
    arguments.tee = ",".join(f"{rank}:{0 if rank == 0 and sys.stderr.isatty() else 2}" for rank in ranks)
    # torchrun puts this template before each line; with an empty role it expands to nothing.
    arguments.role, os.environ["TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"] = "", "${role_name}"


def _last_lines(folder: Path, rank: int) -> list[str]:
    """Return the last lines that a rank of this node has written, without secrets."""
    written: list[str] = []
    for file in folder.glob(f"*/attempt_0/{rank}/stderr.log"):
        with file.open("rb") as opened:
            begin = max(0, file.stat().st_size - _LAST_LINES * _LINE_CHARACTERS)
            opened.seek(begin)
            lines = opened.read().decode(errors="replace").splitlines()
        written += lines[1:] if begin else lines  # the first may be cut, so that no pattern finds a secret in it
    return [redact(line, os.environ)[:_LINE_CHARACTERS] for line in written][-_LAST_LINES:]


def _local_cause(output: OutputFolder, code: int) -> Failure | None:
    """Return what failed on this node, for the first node to report; a lost peer is not this node's failure."""
    found = None if code == OK else first_failure(output, ProcessEnd(code=code))
    return None if found is None or found.exit_code == INTERRUPTED else found


def _node_info(arguments: Any) -> NodeInfo:
    if arguments.standalone:
        return SINGLE_NODE
    return NodeInfo(
        nodes=int(arguments.nnodes),
        rank=arguments.node_rank,
        address=arguments.master_addr,
        port=arguments.master_port,
        job=arguments.rdzv_id,
    )


def _run(
    output: OutputFolder, arguments: Any, shutdown: GracefulShutdown, logs: str, before: CgroupMemory | None
) -> int:
    """Run torchrun; `before` is the memory before any rank was started."""
    try:
        torchrun.run(arguments)
    except ChildFailedError as error:
        ranks = [
            {
                "rank": rank,
                "exit_code": item.exitcode,
                "time": item.timestamp,
                "host": socket.gethostname(),
                "no_memory": _memory_limit_reached(before),
                "log": _last_lines(Path(logs), item.local_rank),
            }
            for rank, item in error.failures.items()
        ]
        if shutdown.has_begun:  # ranks that we killed ourselves have not failed, unless their memory ran out
            ranks = [rank for rank in ranks if rank["exit_code"] >= 0 or _is_out_of_memory(rank)]
        file = output.attempt / f"ranks-{arguments.node_rank}.json"
        write_json(file, sorted(ranks, key=lambda item: item["time"]))
        if shutdown.is_over:
            raise StepInterruptedError(shutdown.number, shutdown.reason) from None
        if shutdown.has_begun:
            return INTERRUPTED
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else FAILED
    finally:
        ignore_signals()  # what remains takes a moment
    return OK


def _is_out_of_memory(rank: Mapping[str, Any]) -> bool:
    return rank["exit_code"] == -signal.SIGKILL and bool(rank["no_memory"])


def _memory_limit_reached(before: CgroupMemory | None) -> str:
    """Say that the kernel has killed a process at the memory limit of its cgroup; empty if it has not."""
    now = cgroup_memory()
    if now is None or now.limit is None or now.kills == (before.kills if before else 0):
        return ""
    peak = "" if now.peak is None else f", peak usage {now.peak / 1e9:.2f} GB"
    return f", because the memory limit was reached: {now.limit / 1e9:.2f} GB for all processes{peak}"
