"""The one place that starts a process: it inherits the streams, forwards signals and gives back the child's code."""

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
    """One command and its environment.

    Attributes:
        argv: program and arguments.
        env: the whole environment of the child.
        keep_open: descriptors that the child holds too, such as that of a lock.
        hears_ctrl_c: whether a person's Ctrl-C goes on to it as what it is, and not as SIGTERM.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    keep_open: tuple[int, ...] = ()
    forward_sigint: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessEnd:
    """How a child ended.

    Attributes:
        code: its exit code; negative is the number of the signal that ended it.
        signalled: the first signal that was sent to us meanwhile and forwarded, or None.
        since: when that came, on the monotonic clock.
    """

    code: int
    signalled: int | None = None
    since: float = field(default=inf, compare=False)


@dataclass(slots=True)
class ReceivedSignal:
    """The first signal that a step has heard, and when, on the monotonic clock."""

    number: int | None = None
    since: float = inf

    def record(self, number: int, since: float | None = None) -> None:
        """Keep it, if it is the first."""
        if self.number is None:
            self.number, self.since = number, time.monotonic() if since is None else since


@contextmanager
def on_signal(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the number of each SIGTERM, SIGINT and SIGHUP that arrives meanwhile.

    A signal that is ignored stays so, as `nohup` wants it. Only the main thread can set handlers; a step that an
    orchestrator runs in another thread leaves the signals to it.
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
    """Raise StepInterruptedError: what `on_signal` calls where a wait is to end."""
    raise StepInterruptedError(number)


def run_process(plan: LaunchCommand) -> ProcessEnd:
    """Run the planned command to its end.

    A SIGTERM, SIGINT or SIGHUP that arrives meanwhile goes on to the child, whose own end decides. The child leads a
    process group of its own, so that Ctrl-C at a terminal reaches it once and not twice. By its closed input it learns
    that we have gone.

    Raises:
        CannotStartError: the program could not be started.
    """
    received = ReceivedSignal()
    child: subprocess.Popen[bytes] | None = None

    def passed_on(number: int) -> int:
        return signal.SIGINT if number == signal.SIGINT and plan.forward_sigint else signal.SIGTERM

    def forward(number: int) -> None:
        received.record(number)
        if child is not None:
            child.send_signal(passed_on(number))

    with on_signal(forward):
        try:
            child = subprocess.Popen(
                plan.argv, env=dict(plan.env), process_group=0, pass_fds=plan.keep_open, stdin=subprocess.PIPE
            )
        except OSError as error:
            raise CannotStartError(f"{plan.argv[0]} could not be started: {error.strerror}") from error
        if (
            received.number is not None
        ):  # the signal came between installing the handler and having a child to hand it to
            child.send_signal(passed_on(received.number))
        with child:
            code = child.wait()
    return ProcessEnd(code=code, signalled=received.number, since=received.since)


def start_background(
    argv: tuple[str, ...], env: Mapping[str, str], *, keep_open: tuple[int, ...]
) -> "subprocess.Popen[bytes]":
    """Start a command that runs beside what follows and learns by its closed input when we have gone.

    It leads a process group of its own: Ctrl-C at a terminal does not reach it.

    Args:
        argv: program and arguments.
        env: the whole environment of the child.
        keep_open: descriptors that the child holds too.

    Raises:
        CannotStartError: the program could not be started.
    """
    try:
        return subprocess.Popen(
            argv, env=dict(env), process_group=0, pass_fds=keep_open, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
    except OSError as error:
        raise CannotStartError(f"{argv[0]} could not be started: {error.strerror}") from error
