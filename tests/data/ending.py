"""A signal whose handler raises, while something runs."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def ended_by_a_signal() -> Iterator[None]:
    """Expect that the block is ended by the exception of a signal's handler, half a second after it has begun."""

    def handle(number: int, frame: object) -> None:
        raise LookupError(number)

    before = signal.signal(signal.SIGUSR1, handle)
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(LookupError):
            yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
