"""The signal that asks a rank to end. Until there is something to save, it ends the rank as the system does."""

import signal
from types import FrameType


class Interruption:
    """Keeps the signal for the places where all ranks look, once there is something to save.

    A rank that left by itself then would have the others wait for it in their next exchange.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def install_handlers(self) -> None:
        """Keep SIGTERM and SIGINT from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number


def ignore_signals() -> None:
    """Take no signal from now on: what is left takes a moment, or is another process's to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
