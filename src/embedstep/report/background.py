"""Writing a report in a process of its own, for those who must not fail by it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from embedstep.errors import OK
from embedstep.runtime.secrets import redact

_LONGEST = 120.0
"""Seconds; a report takes two."""


def write_report_in_subprocess(output: Path) -> Iterator[str]:
    """Write the report of a run, and say what kept it from that: whatever is wrong with a picture, the rest stands.

    Args:
        output: the output folder.
    """
    argv = (sys.executable, "-m", "embedstep.report", str(output))
    try:
        process = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        yield f"the report was not written within {_LONGEST:.0f} s; embedstep report {output} tries again"
        return
    if process.returncode != OK:
        last = redact(next(reversed(process.stderr.splitlines()), ""), os.environ)
        yield f"the report could not be written ({last}); embedstep report {output} tries again"
