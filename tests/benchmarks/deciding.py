"""What is waited for after a training: the verdict over many queries, and the report of a long run.

Neither has a counterpart that does the same; the verdict is compared with the same bootstrap as a plain loop over
resamples with numpy, and the report with one `json.loads` for each line that it reads.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from embedstep.output.gains import bootstrap_gain
from embedstep.output.result import write_json
from embedstep.report.page import write_report
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.benchmarks.harness import Record
from tests.benchmarks.material import material

_QUERIES, _FEW_QUERIES = 10_000, 500
_RESAMPLES = 10_000
_LONGEST_BOOTSTRAP = 2.0
_POINTS, _FEW_POINTS = 1_000_000, 3_000
_REPEATS = 5
_LONGEST_REPORT, _LARGEST_REPORT = 5.0, 3.0
_VALUES = ("loss", "learning_rate", "grad_norm", "rows_per_second")


def bootstrap(quick: bool) -> Record:
    """Compare 10,000 resamples of 10,000 queries by scipy, in parts, with a loop over resamples."""
    count = _FEW_QUERIES if quick else _QUERIES
    rng = np.random.default_rng(0)
    champion, challenger = rng.random(count), rng.random(count)

    def loop() -> None:
        gains = challenger - champion
        means = [gains[rng.integers(0, count, count)].mean() for _ in range(_RESAMPLES)]
        np.percentile(means, [2.5, 97.5])

    repeats = 1 if quick else _REPEATS
    ours, other = _medians(lambda: bootstrap_gain(challenger, champion, 0.95), loop, repeats)
    return Record(
        name="bootstrap",
        compares=f"interval over {count:,} queries / a loop over resamples",
        ours=ours,
        other=other,
        ratio=ours / other,
        bound=_LONGEST_BOOTSTRAP / other,
        repeats=repeats,
        parts={"seconds": ours, "seconds allowed": _LONGEST_BOOTSTRAP},
    )


def report(quick: bool) -> Record:
    """Write the report of a run that has logged a million values, and read its lines alone."""
    points = _FEW_POINTS if quick else _POINTS
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        output = Path(name)
        plan = plan_step(load_request(json.dumps(_document(quick))))
        write_json(output / "plan.json", plan.to_json())
        rng = np.random.default_rng(0)
        with (output / "metrics.jsonl").open("w") as file:
            for step, values in enumerate(rng.random((points // len(_VALUES), len(_VALUES))).tolist()):
                file.write(json.dumps({"train_step": step, **dict(zip(_VALUES, values, strict=True))}) + "\n")
        lines = (output / "metrics.jsonl").read_text().splitlines()
        repeats = 1 if quick else _REPEATS
        ours, other = _medians(lambda: write_report(output), lambda: [json.loads(line) for line in lines], repeats)
        megabytes = (output / "report.html").stat().st_size / 1e6
    return Record(
        name="report",
        compares=f"report of {points:,} metric points / reading them",
        ours=ours,
        other=other,
        ratio=ours / other,
        bound=_LONGEST_REPORT / other if megabytes < _LARGEST_REPORT else 0.0,
        repeats=repeats,
        parts={"seconds": ours, "seconds allowed": _LONGEST_REPORT, "megabytes": megabytes},
    )


def _document(quick: bool) -> dict[str, object]:
    given = material(quick)
    columns = {"anchor": "query", "positive": "docstring"}
    return {
        "model": str(given.model),
        "data": {"train": {"docs": {"path": str(given.train), "columns": columns}}},
        "loss": "multiple_negatives_ranking",
        "tracking": {"kind": "none"},
    }


def _medians(ours: Callable[[], object], other: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median seconds of both sides, which run in turns."""
    pairs = [(_seconds(ours), _seconds(other)) for _ in range(repeats)]
    return median(one for one, _ in pairs), median(one for _, one in pairs)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
