"""How soon a training ends when one that takes part is killed: ours against the torchrun script of `run_overhead`.

Two processes, on one host or on one each. A second host is a command of its own on this machine, all of whose processes
are killed at once, as those of a pod are. One whose link is cut says nothing any more, which the script waits for until
its process group's own limit, half an hour; for that see `make faults`.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import yaml

from tests.benchmarks.commands import environment
from tests.benchmarks.harness import BenchmarkError, Record, measure
from tests.benchmarks.material import material
from tests.benchmarks.overhead import SCRIPT, Work
from tests.worker.torchrun.test_rendezvous import free_port

REPEATS = 5
_LIMITS = {1: 10.0, 2: 60.0}
"""Seconds that ours may take at most, by hosts."""
_STEPS = 60
"""Train steps, of a second or more each: no training comes to its end."""
_PATIENCE = 300
_PAUSE = 0.02
_BY_STEP = {"logging_steps": 1}
"""Over the arguments of both, for their first log to say that they train."""


def lost_rank(quick: bool) -> Record:
    """Kill one of two processes of a host."""
    return _compared_with_the_script(
        "lost_rank", "a host ends after kill -9 of one of its two ranks / torchrun", 1, quick
    )


def lost_host(quick: bool) -> Record:
    """Kill all processes of the second of two hosts."""
    return _compared_with_the_script("lost_host", "a host ends after kill -9 of all of the other / torchrun", 2, quick)


def _compared_with_the_script(name: str, compares: str, hosts: int, quick: bool) -> Record:
    work = Work(given=material(quick), processes=2 // hosts, steps=_STEPS, evaluation_rows=20)
    found: list[float] = []

    def ours() -> float:
        found.append(_measured(_ours, work, hosts))
        return found[-1]

    record = measure(name, compares, ours, lambda: _measured(_script, work, hosts), 1.0, 1 if quick else REPEATS)
    return replace(record, bound=_LIMITS[hosts] / record.other, parts={"ours: longest": max(found)})


Start = Callable[[Path, Work, int, int], tuple[list[list[str]], Path]]
"""Prepares a side in a folder, for so many hosts that meet at a port: the command of each, and the file that the first
log comes to."""


def _ours(folder: Path, work: Work, hosts: int, port: int) -> tuple[list[list[str]], Path]:
    request = work.to_request()
    request["arguments"] |= _BY_STEP
    request |= {"tracking": {"kind": "none"}, "launch": {"nodes": hosts, "processes_per_node": work.processes}}
    (folder / "request.yaml").write_text(yaml.safe_dump(request))
    command = [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", "output"]
    return [command] * hosts, folder / "output" / "metrics.jsonl"


def _script(folder: Path, work: Work, hosts: int, port: int) -> tuple[list[list[str]], Path]:
    described = work.to_script()
    described["arguments"] |= {**_BY_STEP, "report_to": "none"}
    (folder / "work.json").write_text(json.dumps(described))
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={work.processes}"]
    meeting = [f"--nnodes={hosts}", "--master-addr=127.0.0.1", f"--master-port={port}"]
    commands = [
        [*torchrun, *meeting, f"--node-rank={host}", str(SCRIPT), "work.json", "output"] for host in range(hosts)
    ]
    return commands, folder / "0.log"


def _measured(start: Start, work: Work, hosts: int) -> float:
    """Return the seconds from the kill to the end of the first host's command."""
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder, port = Path(name), free_port()
        commands, log = start(folder, work, hosts, port)
        started: list[psutil.Popen] = []
        try:
            for number, command in enumerate(commands):
                with (folder / f"{number}.log").open("wb") as shown:
                    variables = _environment(number, hosts, port)
                    started.append(psutil.Popen(command, cwd=folder, env=variables, stdout=shown, stderr=shown))
            _wait_for_loss(log, started, folder)
            for lost in _tree(started[1]) if hosts > 1 else [_rank(started[0], 1)]:
                lost.kill()
            killed = time.perf_counter()
            started[0].wait(_PATIENCE)
            return time.perf_counter() - killed
        finally:
            for host in started:
                if host.poll() is None:
                    for process in _tree(host):
                        process.kill()
                host.wait()


def _environment(host: int, hosts: int, port: int) -> Mapping[str, str]:
    """Give ours its place as torchrun's own variables do; the script has it on its command line."""
    place = {"PET_NNODES": str(hosts), "PET_NODE_RANK": str(host), "PET_MASTER_ADDR": "127.0.0.1"}
    met = {**place, "PET_MASTER_PORT": str(port), "PET_RDZV_ID": f"bench-{port}"} if hosts > 1 else {}
    return environment(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="true", **met)


def _wait_for_loss(log: Path, started: list[psutil.Popen], folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not (log.exists() and "'loss'" in log.read_text(errors="replace").replace('"', "'")):
        if time.monotonic() > deadline or any(host.poll() is not None for host in started):
            raise BenchmarkError(f"it does not train:\n{(folder / '0.log').read_text(errors='replace')[-2000:]}")
        time.sleep(_PAUSE)


def _tree(process: psutil.Process) -> list[psutil.Process]:
    return [*process.children(recursive=True), process]


def _rank(host: psutil.Process, rank: int) -> psutil.Process:
    ranks = (child for child in host.children(recursive=True) if child.environ().get("RANK") == str(rank))
    return next(ranks)
