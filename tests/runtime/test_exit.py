"""A process ends at once, with its code and all of its output, or runs its handlers within a time."""

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


def test_handlers_run_at_the_end_of_a_process_and_not_longer_than_allowed() -> None:
    code = (
        "import atexit, time\n"
        "from embedstep.runtime.exit import exit_now, run_exit_handlers\n"
        "atexit.register(time.sleep, 60)\n"
        "atexit.register(print, 'written')\n"
        "run_exit_handlers(0.2)\n"
        "exit_now(7)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (7, "written\n")
