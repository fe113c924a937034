"""Ranks that import their libraries while torchrun imports its own, and get from it what a new process would."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

_EARLY = "EMBEDSTEP_EARLY_RANK"
_STANDALONE, _PROCESSES, _MODULE = "--standalone", "--nproc-per-node=", "-m"


class EarlyRanks:
    """Interpreters that torchrun takes in place of new ones.

    Only on a single node: of several, a node may wait for hours until it is known whether it trains at all.
    """

    def __init__(self, command: tuple[str, ...], processes: "Sequence[subprocess.Popen[bytes]]") -> None:
        """Take processes that were started by `start`.

        Args:
            command: the command of each.
            processes: the processes.
        """
        self._command = command
        self._processes = list(processes)

    @classmethod
    def start(cls, argv: Sequence[str], environ: Mapping[str, str]) -> "EarlyRanks":
        """Start the ranks, if this is the only node and they are interpreters.

        Args:
            argv: arguments with those of torchrun.
            environ: the environment.
        """
        counts = [one.removeprefix(_PROCESSES) for one in argv if one.startswith(_PROCESSES)]
        if _STANDALONE not in argv or _MODULE not in argv or not "".join(counts).isdecimal():
            return cls((), ())
        command = (sys.executable, "-u", *argv[argv.index(_MODULE) :])
        env = {**environ, _EARLY: "1"}
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, env=env, start_new_session=True)
            for _ in range(int("".join(counts)))
        ]
        return cls(command, processes)

    def serve(self, handler: type[Any]) -> None:
        """Have torchrun take these processes.

        Args:
            handler: torch's class whose method `_popen` starts a rank. Its instances have opened the files `_stdout`
                and `_stderr` for the rank's output, or have None where the rank shares that of this process.
        """
        start_new = handler._popen

        def popen(starting: Any, args: tuple[str, ...], env: Mapping[str, str]) -> Any:
            if tuple(args) != self._command or not self._processes:
                self._end()
                return start_new(starting, args, env)
            process = self._processes.pop(0)
            files = {number: file.name for number, file in ((1, starting._stdout), (2, starting._stderr)) if file}
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin:  # it has ended already, which its exit code says
                process.stdin.write(json.dumps({"environ": dict(env), "files": files}).encode())
            return process

        handler._popen = popen

    def _end(self) -> None:
        """End the processes that torchrun does not take: they read nothing where others read what they are to do."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        self._processes.clear()


def become_rank(environ: MutableMapping[str, str]) -> None:
    """In an early rank, wait until torchrun starts it, and take the environment and the output that it then gets.

    Args:
        environ: the environment of this process.
    """
    if environ.pop(_EARLY, None) is None:
        return
    given = json.loads(sys.stdin.buffer.read() or b"null")
    if given is None:  # torchrun has ended without starting ranks
        os._exit(0)
    environ.update(given["environ"])
    for number, path in {0: os.devnull, **given["files"]}.items():
        opened = os.open(path, os.O_RDWR | os.O_APPEND)
        os.dup2(opened, int(number))
        os.close(opened)
