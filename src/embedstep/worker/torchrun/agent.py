"""torchrun, which also writes down the ranks that failed: `embedstep.worker.torchrun.agent OUTPUT WHOSE S GRACE ...`.

torchrun itself ends in exit code 1 and a traceback of its own, whatever happened; a rank that was killed leaves no
other trace. Here its arguments go through unchanged, and the codes and signals of the ranks go to `ranks-<node>.json`.
"""

import logging
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from embedstep.errors import FAILED, INTERRUPTED, OK, EmbedstepError, PeerLostError, StepInterruptedError
from embedstep.launch.failures import TORCHRUN, failure_from_error, first_failure
from embedstep.launch.nodes import SINGLE_NODE, NodeInfo
from embedstep.output.folder import OutputFolder
from embedstep.output.result import Failure, write_json
from embedstep.runtime.cgroups import CgroupMemory, cgroup_memory
from embedstep.runtime.process import ProcessEnd
from embedstep.runtime.secrets import redact
from embedstep.worker.interruption import ignore_signals
from embedstep.worker.torchrun.broadcast import broadcast_files
from embedstep.worker.torchrun.grace import GracefulShutdown
from embedstep.worker.torchrun.rendezvous import Rendezvous, rendezvous

_LINES, _LONGEST = 20, 500
"""Last lines of a rank that are told, and characters of each."""


def main(argv: list[str]) -> int:
    """Run torchrun with `argv[4:]` and return the code of the rank that failed first.

    Args:
        argv: the output folder; whether it is `shared` by the nodes or each has its `own`; the seconds that they wait
            for each other, those that the ranks have to end in, then torchrun's own arguments.
    """
    output, is_own, seconds = OutputFolder(Path(argv[0])), argv[1] == "own", float(argv[2])
    arguments = torchrun.parse_args(argv[4:])
    group = _group_of(arguments)
    # torchrun would put an exception anywhere in its own code in place of the grace when it starts the ranks.
    arguments.signals_to_handle = "SIGQUIT"
    grace = GracefulShutdown(float(argv[3]))
    # The agent logs each failed rank again, with frames of its own; ranks.json and the rank's own words say it once.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    meeting_point: Rendezvous | None = None
    try:
        prepare = partial(broadcast_files, output, group) if is_own else _nothing
        # What ranks write may have secrets in it: it is kept where nobody else reads, and for no longer than they run.
        with (
            TemporaryDirectory(prefix="embedstep-") as words,
            rendezvous(group, seconds, grace.peer_lost, prepare) as meeting_point,
        ):
            _keep_words(arguments, words)
            code = _run(output, arguments, grace, words)
            if meeting_point is None:
                return code
            if is_own and group.is_first and code != OK and not grace.has_begun:
                meeting_point.wait_for_cause()
            meeting_point.end(code, _cause(output, code) if is_own and not group.is_first else None)
            if (lost := grace.lost or meeting_point.lost) and code != OK:
                raise PeerLostError(lost)
            return code
    except EmbedstepError as raised:
        is_peer = grace.lost and isinstance(raised, StepInterruptedError)
        error = PeerLostError(grace.lost) if is_peer else raised
        if not grace.has_begun and not is_peer:  # or it has been said
            sys.stderr.write(f"{error}\n")
        if group.is_first:
            cause = meeting_point.cause if meeting_point and isinstance(error, PeerLostError) else None
            write_json(output.attempt / TORCHRUN, asdict(cause or failure_from_error(error)))
        return error.exit_code


def _keep_words(arguments: Any, words: str) -> None:
    """Keep what each rank says in a file, too: of one that is killed, its last words are all that there is.

    The first rank keeps a terminal to itself, where it has one, to draw a bar.
    """
    arguments.log_dir = words
    ranks = range(int(arguments.nproc_per_node))
    arguments.tee = ",".join(f"{rank}:{0 if rank == 0 and sys.stderr.isatty() else 2}" for rank in ranks)
    # Before each line goes what this stands for: nothing.
    arguments.role, os.environ["TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"] = "", "${role_name}"


def _last_lines(folder: Path, rank: int) -> list[str]:
    """Return the last lines that a rank of this node has written, without secrets."""
    told: list[str] = []
    for file in folder.glob(f"*/attempt_0/{rank}/stderr.log"):
        with file.open("rb") as opened:
            begin = max(0, file.stat().st_size - _LINES * _LONGEST)
            opened.seek(begin)
            lines = opened.read().decode(errors="replace").splitlines()
        told += lines[1:] if begin else lines  # the first may be a part of one, which no pattern of a secret finds
    return [redact(line, os.environ)[:_LONGEST] for line in told][-_LINES:]


def _nothing(store: object) -> None:
    """All nodes see one folder, in which everything lies."""


def _cause(output: OutputFolder, code: int) -> Failure | None:
    """Return what has gone wrong here, for the first node to tell; that another node is gone is none of it."""
    found = None if code == OK else first_failure(output, ProcessEnd(code=code))
    return None if found is None or found.exit_code == INTERRUPTED else found


def _group_of(arguments: Any) -> NodeInfo:
    if arguments.standalone:
        return SINGLE_NODE
    return NodeInfo(
        nodes=int(arguments.nnodes), rank=arguments.node_rank, address=arguments.master_addr, port=arguments.master_port
    )


def _run(output: OutputFolder, arguments: Any, grace: GracefulShutdown, words: str) -> int:
    before = cgroup_memory()
    try:
        torchrun.run(arguments)
    except ChildFailedError as error:
        ranks = [
            {
                "rank": rank,
                "exit_code": item.exitcode,
                "time": item.timestamp,
                "host": socket.gethostname(),
                "no_memory": _no_memory(before),
                "log": _last_lines(Path(words), item.local_rank),
            }
            for rank, item in error.failures.items()
        ]
        if grace.has_begun:  # those that were killed we have killed ourselves, but for lack of memory
            ranks = [rank for rank in ranks if rank["exit_code"] >= 0 or _is_of_memory(rank)]
        file = output.attempt / f"ranks-{arguments.node_rank}.json"
        write_json(file, sorted(ranks, key=lambda item: item["time"]))
        if grace.is_over:
            raise StepInterruptedError(grace.number, grace.told) from None
        if grace.has_begun:
            return INTERRUPTED
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else FAILED
    finally:
        ignore_signals()  # what is left to do takes a moment
    return OK


def _is_of_memory(rank: Mapping[str, Any]) -> bool:
    return rank["exit_code"] == -signal.SIGKILL and bool(rank["no_memory"])


def _no_memory(before: CgroupMemory | None) -> str:
    """Say that the kernel has ended a process for the memory limit of its cgroup, or nothing where it has not."""
    now = cgroup_memory()
    if now is None or now.limit is None or now.kills == (before.kills if before else 0):
        return ""
    peak = "" if now.peak is None else f", of which {now.peak / 1e9:.2f} GB were taken at most"
    return f", because the memory limit was reached: {now.limit / 1e9:.2f} GB for all processes{peak}"


def end_with_the_step() -> None:
    """End when the step is gone, as after `kill -9`: nobody would be told of the model, and the GPUs would be held."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return  # started by hand

    def wait() -> None:
        # Not by sys.stdin, whose lock a thread must not hold when the interpreter ends.
        while os.read(0, 4096):
            pass
        os.write(2, b"the step that has started this training is gone; the training ends\n")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    end_with_the_step()
    sys.exit(main(sys.argv[1:]))
