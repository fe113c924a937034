"""The signal that asks a rank to end. Until `record_signals` is called, a signal ends it at once."""

import signal

from embedstep.runtime.process import ReceivedSignal

_ENDING = (signal.SIGTERM, signal.SIGINT)


def record_signals(received: ReceivedSignal) -> None:
    """Record SIGTERM and SIGINT from now on, in place of their default action, for all ranks to end at the same place.

    If one rank ended by itself, the others would wait for it in their next collective.
    """
    for number in _ENDING:
        signal.signal(number, lambda number, frame: received.record(number))


def ignore_signals() -> None:
    """Ignore SIGTERM and SIGINT from now on: what remains is short, or another process ends this one."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
