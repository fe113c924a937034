"""How the ranks of a node end when torchrun is told to: they have a time to save, and not torchrun's own 30 seconds.

torchrun would take back its answer to a signal as an exception anywhere in its own code, and send its ranks one SIGTERM
and a SIGKILL. Here the signal goes on to them, and torchrun goes on watching them end.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType

import psutil

from embedstep.errors import StepInterruptedError

_SAME = 1.0
"""Seconds within which a second signal is the first one: whoever signals a whole group reaches us twice."""
_LOOKS = 0.2
_WITHOUT_PEERS = 5.0
"""Seconds that ranks have to end in when others are lost, which is nothing that they could save in."""


class GracefulShutdown:
    """The time that ranks have to end in, once somebody has asked for it."""

    def __init__(self, seconds: float) -> None:
        """Take SIGTERM and SIGINT from now on.

        Args:
            seconds: how long ranks may take to save and end.
        """
        self._seconds = seconds
        self.number = signal.SIGTERM
        self.told = f", and had not saved within {seconds:g} s"
        self.lost = ""
        self._is_asked = False
        self._since: float | None = None
        self._deadline = float("inf")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    @property
    def has_begun(self) -> bool:
        """Whether the ranks were asked to end."""
        return self._since is not None

    @property
    def is_over(self) -> bool:
        """Whether somebody has asked, and what had not ended by itself was killed."""
        return self._is_asked and time.monotonic() > self._deadline

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self.number, self._is_asked = signal.Signals(number), not self.lost
        if self._since is not None:
            if now - self._since > _SAME:
                self.told = ", and again before it had saved"
                _say("asked again; the processes end now, and the next attempt goes on from the last checkpoint")
                self._begin(0.0)
            return
        if self.lost or not psutil.Process().children():
            raise StepInterruptedError(number)
        key = " Ctrl-C again ends it at once." if number == signal.SIGINT else ""
        told = f"The training saves a checkpoint and ends, within {self._seconds:g} s."
        _say(f"{self.number.name}: {told}{key}")
        self._begin(self._seconds)

    def peer_lost(self, lost: str) -> None:
        """End the ranks of this node, because a peer is lost, for which they would wait in their next exchange.

        Args:
            lost: which one, for a person.
        """
        self.lost = lost
        _say(f"{lost}; this node ends too, for all to be started again")
        if psutil.Process().children():
            self._begin(_WITHOUT_PEERS)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    def _begin(self, seconds: float) -> None:
        is_first, self._since = self._since is None, self._since or time.monotonic()
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        if is_first:
            threading.Thread(target=self._watch, daemon=True, name="grace").start()

    def _watch(self) -> None:
        asked: set[int] = set()
        while True:
            is_over = time.monotonic() > self._deadline
            for rank in psutil.Process().children():
                if is_over or rank.pid not in asked:
                    _send(rank, signal.SIGKILL if is_over else self.number)
                    asked.add(rank.pid)
            time.sleep(_LOOKS)


def _say(told: str) -> None:
    sys.stderr.write(f"{told}\n")
    sys.stderr.flush()


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it has ended by itself
