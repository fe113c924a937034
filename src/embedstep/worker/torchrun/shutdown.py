"""How the ranks of a node end on a signal: with time to save, in place of torchrun's fixed 30 seconds.

torchrun answers a signal with an exception that may be raised anywhere in its code, sends each rank one SIGTERM, and
SIGKILL after 30 seconds. Here the signal is forwarded to the ranks while torchrun keeps waiting for them to end.
"""

import os
import signal
import threading
import time
from types import FrameType

import psutil

from embedstep.errors import StepInterruptedError
from embedstep.runtime.log import say

_SAME_SIGNAL_SECONDS = 1.0
"""A second signal within this time is the first one, which a signal to a whole process group delivers twice."""
_POLL_SECONDS = 0.2
_PEER_LOST_SECONDS = 5.0
"""Time for ranks to end after a peer was lost; they cannot save without it."""


class GracefulShutdown:
    """Ends the ranks of this node within a time limit, once a signal or a lost peer requires it."""

    def __init__(self, seconds: float) -> None:
        """Install handlers for SIGTERM and SIGINT.

        Args:
            seconds: how long ranks may take to save and end.
        """
        self._seconds = seconds
        self.number = signal.SIGTERM
        self.reason = f", and had not saved within {seconds:g} s"
        self.lost_peer = ""
        self._was_requested = False
        self._since: float | None = None
        self._deadline = float("inf")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    @property
    def has_begun(self) -> bool:
        """Whether the ranks were asked to end."""
        return self._since is not None

    @property
    def is_over(self) -> bool:
        """Whether a signal came and the time to save has passed, so that the remaining ranks were killed."""
        return self._was_requested and time.monotonic() > self._deadline

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self.number, self._was_requested = signal.Signals(number), not self.lost_peer
        if self._since is not None:
            if now - self._since > _SAME_SIGNAL_SECONDS:
                self.reason = ", and again before it had saved"
                say(f"{self.number.name} again: ending now; the next attempt resumes from the last checkpoint")
                self._begin(0.0)
            return
        if self.lost_peer or not psutil.Process().children():
            raise StepInterruptedError(number)
        hint = " Press Ctrl-C again to end now." if number == signal.SIGINT else ""
        say(f"{self.number.name}: saving a checkpoint and ending within {self._seconds:g} s.{hint}")
        self._begin(self._seconds)

    def peer_lost(self, reason: str) -> None:
        """End the ranks of this node, which would wait for the lost peer in their next collective.

        Args:
            reason: which peer was lost and how, for the log and the error.
        """
        self.lost_peer = reason
        say(f"{reason}; ending this node too, so that all nodes can restart")
        if psutil.Process().children():
            self._begin(_PEER_LOST_SECONDS)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    def _begin(self, seconds: float) -> None:
        is_first, self._since = self._since is None, self._since or time.monotonic()
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        if is_first:
            threading.Thread(target=self._signal_ranks, daemon=True, name="shutdown").start()

    def _signal_ranks(self) -> None:
        """Forward the signal once to each rank, also to one that starts meanwhile, and kill all after the deadline."""
        signalled: set[int] = set()
        while True:
            is_over = time.monotonic() > self._deadline
            for rank in psutil.Process().children():
                if is_over or rank.pid not in signalled:
                    _send(rank, signal.SIGKILL if is_over else self.number)
                    signalled.add(rank.pid)
            time.sleep(_POLL_SECONDS)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it has ended by itself
