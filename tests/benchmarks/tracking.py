"""What a tracking server costs: whole runs next to a server that is near, far, farther and away, and the same without.

The two runs of a pair go at once, each on half of the cores, and change halves from repeat to repeat: a machine whose
speed changes from minute to minute, as a shared one's does, then slows both. The sender has no idle core to itself.

The Hugging Face callback is measured in the same process run and way, once, next to its own script without it. The
server that is away has no such measure: the callback's script does not begin without one.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
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
from tests.mlflow_server import mlflow_server, nobody_at

BOUND = 1.02
REPEATS = 4
LATENCIES = {"50 ms away": 0.05, "200 ms away": 0.2}
_SCRIPT = Path(__file__).with_name("plain_torchrun.py")
# Some four and a half minutes on one core.
_STEPS, _FEW_STEPS = 90, 2
_ROWS, _FEW_ROWS = 200, 20
_LOGGING_STEPS = 2

Cores = Sequence[int]


def tracking(quick: bool) -> Record:
    """Compare a run next to a server in each state with one that is not tracked; the ratio is that of the worst."""
    work = Work(
        given=material(quick),
        processes=1,
        steps=_FEW_STEPS if quick else _STEPS,
        evaluation_rows=_FEW_ROWS if quick else _ROWS,
    )
    repeats = 1 if quick else REPEATS
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name, ExitStack() as open_here:
        folder = Path(name)
        server = open_here.enter_context(mlflow_server(folder))
        ways = {"0 ms away": server}
        for latency, seconds in LATENCIES.items():
            ways[latency] = open_here.enter_context(Gateway(server, seconds=seconds).open()).url
        callback_ways, ways = ways, {**ways, "dead": nobody_at()}
        if not quick:
            few = replace(work, steps=_FEW_STEPS, evaluation_rows=_FEW_ROWS)
            _pair(folder, _ours, few, server, turn=0)
        ours = [
            {way: _pair(folder, _ours, work, uri, turn=turn) for way, uri in ways.items()} for turn in range(repeats)
        ]
        theirs = [{way: _pair(folder, _callback, work, uri, turn=0) for way, uri in callback_ways.items()}]
    ratios, of_callback = _ratios(ours), _ratios(theirs)
    worst = max(ratios, key=lambda way: ratios[way])
    return Record(
        name="tracking",
        compares="run with MLflow, at its worst / run without",
        ours=median(pairs[worst][0] for pairs in ours),
        other=median(pairs[worst][1] for pairs in ours),
        ratio=ratios[worst],
        bound=BOUND,
        repeats=repeats,
        parts={
            **{f"{way} / without": ratio for way, ratio in ratios.items()},
            **{f"callback, {way} / without": ratio for way, ratio in of_callback.items()},
        },
    )


def _ratios(repeats: Sequence[Mapping[str, tuple[float, float]]]) -> dict[str, float]:
    return {way: median(pairs[way][0] / pairs[way][1] for pairs in repeats) for way in repeats[0]}


def _pair(
    folder: Path, run: Callable[[Path, Work, str | None, Cores], float], work: Work, uri: str, *, turn: int
) -> tuple[float, float]:
    """Run with tracking and without at once, and return the wall seconds of each."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    halves = cores[:half], cores[-half:]
    with ThreadPoolExecutor(2) as pool:
        tracked = pool.submit(run, folder / "tracked", work, uri, halves[turn % 2])
        alone = pool.submit(run, folder / "alone", work, None, halves[(turn + 1) % 2])
        seconds = tracked.result(), alone.result()
    sys.stderr.write(f"tracking: {run.__name__.strip('_')}, {turn}, {uri}: {seconds[0]:.1f} / {seconds[1]:.1f} s\n")
    return seconds


def _ours(folder: Path, work: Work, uri: str | None, cores: Cores) -> float:
    document = work.to_request()
    document["arguments"]["logging_steps"] = _LOGGING_STEPS
    document["tracking"] = {"kind": "none"} if uri is None else {"kind": "mlflow", "uri": uri}
    command = ["-m", "embedstep", "run", "request.yaml", "--output", "output"]
    return _timed(folder, cores, {"request.yaml": yaml.safe_dump(document)}, command, {})


def _callback(folder: Path, work: Work, uri: str | None, cores: Cores) -> float:
    script: dict[str, Any] = work.to_script()
    script["arguments"] |= {"logging_steps": _LOGGING_STEPS, "report_to": "none" if uri is None else "mlflow"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    command = [*torchrun, str(_SCRIPT), "work.json", "output"]
    return _timed(folder, cores, {"work.json": json.dumps(script)}, command, {"MLFLOW_TRACKING_URI": uri or ""})


def _timed(
    folder: Path, cores: Cores, files: Mapping[str, str], command: Sequence[str], variables: Mapping[str, str]
) -> float:
    shutil.rmtree(folder / "output", ignore_errors=True)
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    env = environment(
        OMP_NUM_THREADS=str(len(cores)),
        TOKENIZERS_PARALLELISM="true",
        TQDM_DISABLE="1",
        HF_DATASETS_CACHE=str(folder / "datasets"),
        **variables,
    )
    on_cores = ["taskset", "--cpu-list", ",".join(map(str, cores))]
    return timed([*on_cores, sys.executable, *command], env=env, folder=folder)
