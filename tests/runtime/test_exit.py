"""A process ends at once, with its code and all of its output."""

import subprocess
import sys


def test_what_was_written_arrives_and_nothing_else_runs() -> None:
    code = """
import atexit, sys
from embedstep.runtime.exit import exit_now
atexit.register(print, "too late")
sys.stdout.write("out")
sys.stderr.write("err")
exit_now(75)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (75, "out", "err")
