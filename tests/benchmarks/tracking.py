"""What a tracking server costs: whole runs beside one that is near, far, farther and away, and the same run without.

The Hugging Face callback is measured in the same process run, beside its own script without it. The server that is away
has no such measure: the callback's script does not begin without one.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import Record
from tests.benchmarks.material import material
from tests.benchmarks.overhead import Work
from tests.gateway import Gateway

BOUND = 1.02
REPEATS = 3
LATENCIES = {"0 ms away": 0.0, "50 ms away": 0.05, "200 ms away": 0.2}
_SCRIPT = Path(__file__).with_name("plain_torchrun.py")
_STEPS, _FEW_STEPS = 60, 2
_ROWS, _FEW_ROWS = 200, 20
_LOGGING_STEPS = 2


def tracking(quick: bool) -> Record:
    """Compare a run beside a server in each state with one that is not tracked; the ratio is that of the worst."""
    work = Work(
        given=material(quick),
        processes=1,
        steps=_FEW_STEPS if quick else _STEPS,
        evaluation_rows=_FEW_ROWS if quick else _ROWS,
    )
    repeats = 1 if quick else REPEATS
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name, ExitStack() as open_here:
        folder = Path(name)
        server = open_here.enter_context(_server(folder / "server"))
        ways: dict[str, str | None] = {"without": None}
        for latency, seconds in LATENCIES.items():
            ways[latency] = open_here.enter_context(Gateway(server, seconds=seconds).open()).url
        ways["dead"] = f"http://127.0.0.1:{_free_port()}"
        if not quick:
            _ours(folder, replace(work, steps=_FEW_STEPS, evaluation_rows=_FEW_ROWS), server)
        ours = [{way: _ours(folder, work, uri) for way, uri in ways.items()} for _ in range(repeats)]
        ratios = {way: median(run[way] / run["without"] for run in ours) for way in ways if way != "without"}
        worst = max(ratios, key=lambda way: ratios[way])
        alone = _callback(folder, work, None)
        callback = {way: _callback(folder, work, ways[way]) / alone for way in LATENCIES}
    return Record(
        name="tracking",
        compares="run with MLflow, at its worst / run without",
        ours=median(run[worst] for run in ours),
        other=median(run["without"] for run in ours),
        ratio=ratios[worst],
        bound=BOUND,
        repeats=repeats,
        parts={
            **{f"{way} / without": ratio for way, ratio in ratios.items()},
            **{f"callback, {way} / without": ratio for way, ratio in callback.items()},
        },
    )


def _ours(folder: Path, work: Work, uri: str | None) -> float:
    document = work.to_request()
    document["arguments"]["logging_steps"] = _LOGGING_STEPS
    document["tracking"] = {"kind": "none"} if uri is None else {"kind": "mlflow", "uri": uri}
    (folder / "request.yaml").write_text(yaml.safe_dump(document))
    command = ["-m", "embedstep", "run", "request.yaml", "--output", "output"]
    return _timed(folder, command, {})


def _callback(folder: Path, work: Work, uri: str | None) -> float:
    script: dict[str, Any] = work.to_script()
    script["arguments"] |= {"logging_steps": _LOGGING_STEPS, "report_to": "none" if uri is None else "mlflow"}
    (folder / "work.json").write_text(json.dumps(script))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    return _timed(folder, [*torchrun, str(_SCRIPT), "work.json", "output"], {"MLFLOW_TRACKING_URI": uri or ""})


def _timed(folder: Path, command: list[str], variables: Mapping[str, str]) -> float:
    shutil.rmtree(folder / "output", ignore_errors=True)
    os.sync()
    env = environment(
        OMP_NUM_THREADS=str(len(os.sched_getaffinity(0))),
        TOKENIZERS_PARALLELISM="true",
        TQDM_DISABLE="1",
        HF_DATASETS_CACHE=str(folder / "datasets"),
        **variables,
    )
    return timed([sys.executable, *command], env=env, folder=folder)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Run an MLflow server with a database of its own."""
    folder.mkdir()
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
         "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port),
         "--workers", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
    )  # fmt: skip
    try:
        _wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close())
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait(call: Callable[[], None]) -> None:
    for _ in range(600):
        try:
            return call()
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server did not come up in a minute")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
