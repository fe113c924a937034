import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from embedstep.errors import CannotStartError
from embedstep.runtime.process import LaunchCommand, ProcessEnd, run_process


def python(code: str) -> LaunchCommand:
    return LaunchCommand(argv=(sys.executable, "-c", code), env=dict(os.environ))


@pytest.mark.parametrize("code", [0, 1, 2, 75, 137])
def test_the_child_s_code_decides(code: int) -> None:
    assert run_process(python(f"raise SystemExit({code})")) == ProcessEnd(code=code)


def test_a_child_that_a_signal_ended_says_so() -> None:
    end = run_process(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert end == ProcessEnd(code=-signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_resumes_to_the_child(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready"
    before = signal.getsignal(signal.SIGTERM)
    code = f"""
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *a: sys.exit(75))
pathlib.Path({str(ready)!r}).touch()
time.sleep(30)
"""

    def send() -> None:
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    end = run_process(python(code))
    thread.join()
    assert end == ProcessEnd(code=75, signalled=number)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_program_that_is_not_there_cannot_start() -> None:
    with pytest.raises(CannotStartError, match="/none/python could not be started: No such file or directory"):
        run_process(LaunchCommand(argv=("/none/python",), env={}))
