import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from embedstep.data.cancelling import run_cancellable


def test_what_the_work_gives_or_raises_comes_back() -> None:
    def fail() -> int:
        raise LookupError("nothing")

    assert run_cancellable(lambda: 3, lambda: None) == 3
    with pytest.raises(LookupError, match="nothing"):
        run_cancellable(fail, lambda: None)


@pytest.fixture
def raising() -> Iterator[None]:
    def handle(number: int, frame: object) -> None:
        raise InterruptedError(number)

    before = signal.signal(signal.SIGUSR1, handle)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("raising")
def test_a_signal_cancels_the_work_until_it_has_ended() -> None:
    asked: list[float] = []
    enough = threading.Event()

    def cancel() -> None:
        asked.append(time.monotonic())
        if len(asked) == 3:
            enough.set()

    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    timer.start()
    with pytest.raises(InterruptedError):
        run_cancellable(lambda: enough.wait(30), cancel)
    assert len(asked) == 3
    timer.join()
