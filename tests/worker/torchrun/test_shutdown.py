"""How the ranks of a node end on a signal, with real processes."""

import signal
import subprocess
import sys

import pytest

CODE = """
import subprocess, sys
from embedstep.worker.torchrun import shutdown as module

module._SAME_SIGNAL_SECONDS = 0.2
shutdown = module.GracefulShutdown(float(sys.argv[1]))
rank = subprocess.Popen(["sh", "-c", sys.argv[2]])
code = rank.wait()
print(code, shutdown.number.name, shutdown.has_begun, shutdown.is_over, shutdown.reason)
"""
SAVES = "trap 'echo saves; sleep 0.3; exit 75' TERM; echo ready; while true; do sleep 0.05; done"
HANGS = "trap 'echo hangs' TERM; echo ready; while true; do sleep 0.05; done"


def started(seconds: float, rank: str, code: str = CODE) -> "subprocess.Popen[str]":
    """Start a node whose rank may take so many seconds, and wait until the rank has begun."""
    command = [sys.executable, "-c", code, str(seconds), rank]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_rank_gets_the_signal_once_and_its_time_to_save() -> None:
    node = started(30, SAVES)
    node.terminate()
    out, err = node.communicate(timeout=20)
    assert out.splitlines() == ["saves", "75 SIGTERM True False , and had not saved within 30 s"]
    assert err == "SIGTERM: saving a checkpoint and ending within 30 s.\n"


def test_a_rank_that_takes_longer_is_killed() -> None:
    node = started(0.5, HANGS)
    node.terminate()
    out, _ = node.communicate(timeout=20)
    assert out.splitlines() == ["hangs", "-9 SIGTERM True True , and had not saved within 0.5 s"]


def test_a_second_signal_ends_it_now() -> None:
    node = started(60, HANGS)
    node.terminate()
    assert node.stdout is not None
    assert node.stdout.readline() == "hangs\n"
    with pytest.raises(subprocess.TimeoutExpired):
        node.wait(0.4)
    node.terminate()
    out, err = node.communicate(timeout=20)
    assert out.splitlines() == ["-9 SIGTERM True True , and again before it had saved"]
    assert err.splitlines()[-1] == "SIGTERM again: ending now; the next attempt resumes from the last checkpoint"


WITHOUT_RANKS = """
import sys, time
from embedstep.errors import StepInterruptedError
from embedstep.worker.torchrun.shutdown import GracefulShutdown

GracefulShutdown(30)
try:
    print("ready", flush=True)
    time.sleep(60)
except StepInterruptedError as error:
    print(error, error.exit_code)
"""


def test_without_ranks_there_is_nothing_to_wait_for() -> None:
    node = started(30, "", WITHOUT_RANKS)
    node.send_signal(signal.SIGINT)
    out, _ = node.communicate(timeout=20)
    assert out.startswith("interrupted by SIGINT; ")
    assert out.endswith(" 75\n")
