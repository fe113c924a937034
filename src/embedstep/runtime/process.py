"""Start child processes, forward signals to them, and return their exit codes."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from types import FrameType

from embedstep.errors import CannotStartError, StepInterruptedError

_INTERRUPTING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchCommand:
    """A command and its environment.

    Attributes:
        argv: program and arguments.
        env: the whole environment of the child.
        keep_open: file descriptors that the child inherits, such as that of a lock.
        forward_sigint: forward SIGINT (Ctrl-C) as SIGINT and not as SIGTERM.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    keep_open: tuple[int, ...] = ()
    forward_sigint: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessEnd:
    """The end of a child process.

    Attributes:
        code: its exit code; negative for the signal that killed it.
        signalled: the first signal that this process received and forwarded meanwhile, or None.
        since: time of that signal on the monotonic clock.
    """

    code: int
    signalled: int | None = None
    since: float = field(default=inf, compare=False)


@dataclass(slots=True)
class ReceivedSignal:
    """The first signal that a step has received, and its time on the monotonic clock."""

    number: int | None = None
    since: float = inf

    def record(self, number: int, since: float | None = None) -> None:
        """Record a signal if it is the first."""
        if self.number is None:
            self.number, self.since = number, time.monotonic() if since is None else since


@contextmanager
def on_signal(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the number of each SIGTERM, SIGINT and SIGHUP that arrives inside the block.

    Signals that are ignored stay ignored (`nohup`). Only the main thread can set handlers; in another thread, where
    some orchestrators run the step, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        handle(number)

    received = [number for number in _INTERRUPTING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in received}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def interrupt(number: int) -> None:
    """Raise StepInterruptedError; a handler for `on_signal` that ends a wait."""
    raise StepInterruptedError(number)


def run_process(command: LaunchCommand) -> ProcessEnd:
    """Run a command and wait for its end.

    SIGTERM, SIGINT and SIGHUP are forwarded to the child, which decides how to end.

    Raises:
        CannotStartError: the program could not be started.
    """
    received = ReceivedSignal()
    with on_signal(received.record):
        return wait_for_process(start_process(command), command, received)


def start_process(command: LaunchCommand, stdout: int | None = None) -> "subprocess.Popen[bytes]":
    """Start a command in a process group of its own, so that a Ctrl-C at the terminal reaches it once and not twice.

    The end of file on its standard input means that this process is gone.

    Args:
        command: the command.
        stdout: where its output goes (`subprocess.Popen`), or None for that of this process.

    Raises:
        CannotStartError: the program could not be started.
    """
    env, keep_open = dict(command.env), command.keep_open
    try:
        return subprocess.Popen(
            command.argv, env=env, process_group=0, pass_fds=keep_open, stdin=subprocess.PIPE, stdout=stdout
        )
    except OSError as error:
        raise CannotStartError(f"{command.argv[0]} could not be started: {error.strerror}") from error


def wait_for_process(child: "subprocess.Popen[bytes]", command: LaunchCommand, received: ReceivedSignal) -> ProcessEnd:
    """Wait for the end of a child, and forward the signals that come meanwhile.

    Args:
        child: the child.
        command: what it runs.
        received: a signal that came before, if any; it is forwarded first.
    """

    def send(number: int) -> None:
        child.send_signal(signal.SIGINT if number == signal.SIGINT and command.forward_sigint else signal.SIGTERM)

    def forward(number: int) -> None:
        received.record(number)
        send(number)

    with on_signal(forward), child:
        if received.number is not None:
            send(received.number)
        code = child.wait()
    return ProcessEnd(code=code, signalled=received.number, since=received.since)
