"""Writing a report in a process of its own, whose failure does not matter to the caller."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from embedstep.errors import OK
from embedstep.runtime.secrets import redact

_TIMEOUT = 120.0
"""Seconds. A report usually takes two."""


def write_report_in_subprocess(output: Path) -> Iterator[str]:
    """Write the report of a run, and yield a message if that fails: an error in a chart must not fail the run.

    Args:
        output: the output folder.
    """
    argv = (sys.executable, "-m", "embedstep", "report", str(output))
    try:
        process = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        yield f"the report was not written within {_TIMEOUT:.0f} s; run embedstep report {output} to try again"
        return
    if process.returncode != OK:
        last = redact(next(reversed(process.stderr.splitlines()), "").strip(), os.environ)
        yield f"the report could not be written ({last}); run embedstep report {output} to try again"
