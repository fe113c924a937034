"""A run in processes of its own, and its parts by name."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.conftest import wait_for

FAULTS = str(Path(__file__).parent.parent / "distributed" / "faults")


class Attempt:
    """`embedstep run` in a session of its own."""

    def __init__(
        self,
        folder: Path,
        document: Mapping[str, Any],
        output: str,
        host: str | None = None,
        disk: str = "",
        **environ: str,
    ) -> None:
        """Start it.

        Args:
            folder: working folder; the request is written there.
            document: the request.
            output: name of the output folder.
            host: network namespace to run in, or None for that of the tests.
            disk: name of the folder that this host sees in place of the output folder, which another host sees.
            environ: variables besides the environment.
        """
        file = folder / f"{output}.yaml"
        file.write_text(yaml.safe_dump(dict(document)))
        self.output = folder / (disk or output)
        inside = ["ip", "netns", "exec", host] if host else []  # which becomes the program
        if disk:  # in the namespace of mounts that a host has of its own
            for path in (self.output, folder / output):
                path.mkdir(exist_ok=True)
            mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
            inside += ["sh", "-c", mount, str(self.output), str(folder / output)]
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-m", "embedstep", "run", file.name, "--output", output],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environ},
        )  # fmt: skip

    def wait_for_logs(self, count: int) -> None:
        """Wait until so many lines of metrics are there."""
        metrics = self.output / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= count)

    def wait_for_checkpoint(self, step: int) -> None:
        """Wait until the checkpoint of this train step is whole."""
        wait_for((self.output / "checkpoints" / f"checkpoint-{step}").exists)

    def wait_for_ranks(self, count: int) -> None:
        """Wait until torchrun has started so many; what is no torchrun yet is on its way to become it."""
        wait_for(lambda: bool(self._torchruns) and len(self.ranks) == count)

    @property
    def _torchruns(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return [child for child in children if "embedstep.worker.torchrun.agent" in child.cmdline()]

    @property
    def torchrun(self) -> psutil.Process:
        """The process that starts the ranks."""
        (found,) = self._torchruns
        return found

    @property
    def ranks(self) -> list[psutil.Process]:
        """The ranks, in the order of their start."""
        found: list[psutil.Process] = self.torchrun.children()
        return found

    @property
    def everything(self) -> list[psutil.Process]:
        """All processes of the attempt."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def ends(self, code: int, *, within: float = 120) -> str:
        """Wait for the end in this exit code, within so many seconds from now, and return what was shown."""
        started = time.monotonic()
        shown, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == code, shown
        assert time.monotonic() - started < within, shown
        return shown


def trained(folder: Path, document: Mapping[str, Any], output: str) -> Path:
    """Run to a good end."""
    Attempt(folder, document, output).ends(0)
    return folder / output


def faulty(fault: str, at: str, *, rank: int, **more: str) -> dict[str, str]:
    """The environment in which one rank comes to grief."""
    return {"PYTHONPATH": FAULTS, "FAULT": fault, "FAULT_AT": at, "FAULT_RANK": str(rank), **more}
