"""Programs that are timed: each in a process of its own, offline, and with nothing of the caller's that slows one."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.harness import BenchmarkError

_TIMEOUT = 1_800
_TAIL = 2_000
# Without byte code on the disk every start compiles each library again.
_LEFT_OUT = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
_FOR_BOTH = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "EMBEDSTEP_CACHE": "off",
}


def environment(**variables: str) -> dict[str, str]:
    """Return the environment in which both sides run, with `variables` over it."""
    inherited = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    return {**inherited, **_FOR_BOTH, **variables}


def timed(argv: Sequence[str], *, env: Mapping[str, str], folder: Path) -> float:
    """Run a program in `folder` to its end and return its wall time in seconds.

    Its output goes to `output.log` there: a pipe would have this process work while the other is timed.

    Raises:
        BenchmarkError: it ended in another code than 0, or not at all.
    """
    log = folder / "output.log"
    started = time.perf_counter()
    with log.open("wb") as stream:
        try:
            subprocess.run(argv, env=dict(env), cwd=folder, stdout=stream, stderr=stream, timeout=_TIMEOUT, check=True)
        except (subprocess.SubprocessError, OSError) as error:
            end = log.read_text(errors="replace")[-_TAIL:]
            raise BenchmarkError(f"{error}\n{end}") from error
    return time.perf_counter() - started
