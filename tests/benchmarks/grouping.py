"""An epoch with rows of similar length together, against one with rows as they are drawn: time, and what it teaches.

Both sides are `embedstep run` on the same pairs, with MiniLM at 128 tokens and batches of 32. The seconds are those of
the training; the quality is nDCG@10 on held-out pairs after the epoch.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import Record, measure
from tests.benchmarks.material import SamplerInputs, material

BOUND = 0.6
ROWS = 1_024
EVALUATION_ROWS = 300
_FEW_ROWS = 64
_SCORE = "eval_docs_cosine_ndcg@10"


def group_by_length(quick: bool) -> Record:
    """Compare the training on docstring pairs."""
    rows = _FEW_ROWS if quick else ROWS
    scores: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)

        def run(grouped: bool) -> float:
            trained, evaluated = folder / "trained", folder / "evaluated"
            request = _request(material(quick), rows, grouped=grouped)
            seconds = _metrics(folder, request, trained)["train_runtime"]
            request["model"]["path"] = str(trained / "model")
            request["arguments"] = {"do_train": False, "do_eval": True, "report_to": "none"}
            scores[grouped].append(_metrics(folder, request, evaluated)[_SCORE])
            return seconds

        record = measure(
            "group_by_length",
            f"training on {rows:,} pairs grouped by length / as drawn",
            lambda: run(True),
            lambda: run(False),
            BOUND,
            1 if quick else 3,
        )
    parts = {"nDCG@10, grouped": median(scores[True]), "nDCG@10, as drawn": median(scores[False])}
    return replace(record, parts=parts)


def _metrics(folder: Path, request: Mapping[str, Any], output: Path) -> dict[str, float]:
    """Run a request and return the last value of each metric that it has logged."""
    (folder / "request.yaml").write_text(yaml.safe_dump(request))
    command = (sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", str(output), "--overwrite")
    timed(command, env=environment(), folder=folder)
    logs = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return {key: value for log in logs for key, value in log.items()}


def _request(given: SamplerInputs, rows: int, *, grouped: bool) -> dict[str, Any]:
    columns = {"anchor": "query", "positive": "docstring"}
    return {
        "model": {"path": str(given.model), "max_seq_length": 128},
        "data": {
            "train": {"docs": {"path": str(given.train), "columns": columns, "limit": rows}},
            "eval": {"held_out": {"path": str(given.evaluation), "columns": columns, "limit": EVALUATION_ROWS}},
        },
        "loss": "multiple_negatives_ranking",
        "evaluators": [{"kind": "information_retrieval", "name": "docs", "dataset": "held_out"}],
        "arguments": {
            "num_train_epochs": 1,
            "per_device_train_batch_size": 32,
            "learning_rate": 2e-5,
            "warmup_steps": 0.1,
            "save_strategy": "no",
            "group_by_length": grouped,
            "report_to": "none",
        },
    }
