"""A rank records the first signal, and ignores all once its work is done."""

import os
import signal
from collections.abc import Iterator

import pytest

from embedstep.runtime.process import ReceivedSignal
from embedstep.worker.interruption import ignore_signals, record_signals


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_signal_is_the_one_that_counts() -> None:
    received = ReceivedSignal()
    record_signals(received)
    assert received.number is None
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert received.number == signal.SIGTERM


def test_ignored_signals_change_nothing() -> None:
    received = ReceivedSignal()
    record_signals(received)
    ignore_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert received.number is None
