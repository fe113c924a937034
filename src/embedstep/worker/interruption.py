"""The signal that asks a rank to end. Until `install_handlers` is called, a signal ends it at once."""

import signal
from types import FrameType


class Interruption:
    """Records the signal, for all ranks to end at the same place.

    If one rank ended by itself, the others would wait for it in their next collective.

    Attributes:
        number: the first signal received, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def install_handlers(self) -> None:
        """Record SIGTERM and SIGINT from now on, in place of their default action."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._record)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number


def ignore_signals() -> None:
    """Ignore SIGTERM and SIGINT from now on: what remains is short, or another process ends this one."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
