"""What a tracking server costs: whole runs beside one that is near, far, farther and away, and the same run without.

The Hugging Face callback is measured in the same process run, beside its own script without it. The server that is away
has no such measure: the callback's script does not begin without one.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
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
        server = open_here.enter_context(mlflow_server(folder))
        ways: dict[str, str | None] = {"without": None}
        for latency, seconds in LATENCIES.items():
            ways[latency] = open_here.enter_context(Gateway(server, seconds=seconds).open()).url
        ways["dead"] = nobody_at()
        if not quick:
            _ours(folder, replace(work, steps=_FEW_STEPS, evaluation_rows=_FEW_ROWS), server)
        # Each repeat begins with another way: a machine that gets slower meanwhile must not count against the last.
        names = list(ways)
        orders = [names[turn:] + names[:turn] for turn in (2 * repeat % len(names) for repeat in range(repeats))]
        ours = [{way: _ours(folder, work, ways[way]) for way in order} for order in orders]
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
