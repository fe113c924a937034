"""A rank records the first signal, and ignores all once its work is done."""

import os
import signal
from collections.abc import Iterator

import pytest

from embedstep.worker.interruption import Interruption, ignore_signals


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_signal_is_the_one_that_counts() -> None:
    interruption = Interruption()
    interruption.install_handlers()
    assert interruption.number is None
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert interruption.number == signal.SIGTERM


def test_ignored_signals_change_nothing() -> None:
    interruption = Interruption()
    interruption.install_handlers()
    ignore_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert interruption.number is None
