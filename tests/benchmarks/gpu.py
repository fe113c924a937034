"""`python -m tests.benchmarks.gpu [NAME ...] [--quick]`, which `make bench-gpu` runs: samples per second on one GPU.

`embedstep run` trains next to a plain script of sentence-transformers: the same model, rows, batches and arguments,
with bfloat16 autocast and texts of at most 128 tokens. The seconds are those of the training; the parts show the whole
runs too, in which ours has tokenized the texts before. Where rows are grouped by length, the script has them as drawn.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import pyarrow.parquet as pq
import yaml

from embedstep.runtime.devices import listed_gpus, visible_gpus
from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import QUICK, Benchmark, Record, measure
from tests.benchmarks.harness import main as run_benchmarks
from tests.benchmarks.material import SamplerInputs, material
from tests.benchmarks.overhead import SCRIPT
from tests.gpu.needs import MISSING

OUTPUT = Path("build/bench_gpu.json")
TOKENS = 128
GOAL, GOAL_BY_LENGTH = 1.0, 1.5
"""How many times the samples per second of the script."""
_REPEATS = 3
_FEW_ROWS = 64
_SAVE_ENCODER = """
import sys
from pathlib import Path
from tests.random_bert import save_bert
save_bert(Path(sys.argv[1]), Path(sys.argv[2]), layers=12, width=768, heads=12, feed_forward=4, tokens=128)
"""
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What both sides train.

    Attributes:
        batch: rows of a batch, which keep a GPU of 16 GB busy.
        epochs: passes over the docstring pairs, enough of them that the start of CUDA hardly counts.
        model: returns the folder of the model, given that of MiniLM and one to write to.
    """

    batch: int
    epochs: int
    model: Callable[[Path, Path], Path]


def _save_encoder(minilm: Path, folder: Path) -> Path:
    """Save a BERT of 110 million parameters with random weights, in a process that leaves torch out of this one."""
    command = [sys.executable, "-c", _SAVE_ENCODER, str(folder), str(minilm)]
    subprocess.run(command, env=environment(PYTHONPATH=str(_ROOT)), check=True, capture_output=True)
    return folder / "model"


MINILM = Training(batch=256, epochs=20, model=lambda minilm, folder: minilm)
ENCODER = Training(batch=64, epochs=5, model=_save_encoder)


class _Sides:
    """Runs both sides in a folder, and keeps the seconds of their whole runs."""

    def __init__(self, folder: Path, training: Training, given: SamplerInputs, quick: bool, *, grouped: bool) -> None:
        self.whole: dict[str, list[float]] = {"ours": [], "script": []}
        self._folder = folder
        model, train = str(training.model(given.model, folder)), folder / "train.parquet"
        rows = pq.read_table(given.train, columns=["query", "docstring"]).slice(0, _FEW_ROWS if quick else None)
        pq.write_table(rows, train)
        batch = min(training.batch, _FEW_ROWS // 2) if quick else training.batch
        epochs = 1 if quick else training.epochs
        self.samples = rows.num_rows // batch * batch * epochs
        arguments = {
            "num_train_epochs": epochs, "per_device_train_batch_size": batch, "learning_rate": 2e-5,
            "optim": "adamw_torch_fused", "warmup_steps": 0.1, "bf16": True, "logging_steps": 50, "save_strategy": "no",
            "dataloader_drop_last": True,
        }  # fmt: skip
        docs = {"path": str(train), "columns": {"anchor": "query", "positive": "docstring"}}
        request = {
            "model": {"path": model, "max_seq_length": TOKENS},
            "data": {"train": {"docs": docs}},
            "loss": "multiple_negatives_ranking",
            "arguments": {**arguments, "group_by_length": grouped},
            "launch": {"processes_per_node": 1},
            "tracking": {"kind": "none"},
        }
        script = {
            "model": model, "max_seq_length": TOKENS, "train": str(train), "evaluation": str(given.evaluation),
            "evaluation_rows": 20, "example": [],
            "arguments": {**arguments, "disable_tqdm": True, "report_to": "none"},
        }  # fmt: skip
        (folder / "request.yaml").write_text(yaml.safe_dump(request))
        (folder / "work.json").write_text(json.dumps(script))

    def ours(self) -> float:
        """Run embedstep and return the seconds of the training."""
        command = ["-m", "embedstep", "run", "request.yaml", "--output", "ours", "--overwrite"]
        return self._trained("ours", command, self._folder / "ours" / "result.json", lambda found: found["seconds"])

    def script(self) -> float:
        """Run the script and return the seconds of the training."""
        shutil.rmtree(self._folder / "script", ignore_errors=True)
        command = [str(SCRIPT), "work.json", "script"]
        return self._trained("script", command, self._folder / "script" / "seconds.json", lambda found: found)

    def _trained(
        self, side: str, command: Sequence[str], file: Path, seconds: Callable[[Any], Mapping[str, float]]
    ) -> float:
        env = environment(
            TOKENIZERS_PARALLELISM="true", TQDM_DISABLE="1", HF_DATASETS_CACHE=str(self._folder / "datasets")
        )
        # A script that sees several GPUs would split each batch over them.
        env |= {"CUDA_VISIBLE_DEVICES": ",".join(listed_gpus(os.environ, visible_gpus(os.environ))[:1])}
        self.whole[side].append(timed([sys.executable, *command], env=env, folder=self._folder))
        return float(seconds(json.loads(file.read_text()))["train"])


def _compared(name: str, training: Training, goal: float, quick: bool) -> Record:
    grouped = goal > GOAL
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as folder:
        sides = _Sides(Path(folder), training, material(quick), quick, grouped=grouped)
        if not quick:
            sides.ours(), sides.script()  # the first start reads cold files and fills the script's cache
            sides.whole = {side: [] for side in sides.whole}
        how = "grouped by length" if grouped else "as drawn"
        compares = f"training on {sides.samples:,} pairs {how} / script"
        record = measure(name, compares, sides.ours, sides.script, 1 / goal, 1 if quick else _REPEATS)
    parts = {
        "ours: samples/s": sides.samples / record.ours,
        "script: samples/s": sides.samples / record.other,
        "ours / script: samples/s": 1 / record.ratio,
        "goal": goal,
        **{f"{side}: whole run": median(seconds) for side, seconds in sides.whole.items()},
    }
    return replace(record, parts=parts)


BENCHMARKS: Mapping[str, Benchmark] = {
    name: partial(_compared, name, training, goal)
    for name, training, goal in (
        ("minilm", MINILM, GOAL),
        ("minilm_by_length", MINILM, GOAL_BY_LENGTH),
        ("encoder", ENCODER, GOAL),
        ("encoder_by_length", ENCODER, GOAL_BY_LENGTH),
    )
}


def main(argv: Sequence[str], missing: str = MISSING) -> int:
    """Run the benchmarks, or count them where there is no GPU.

    Args:
        argv: names of benchmarks, and `--quick`.
        missing: why nothing can be trained on a GPU here; empty if it can.
    """
    if not missing:
        return run_benchmarks(argv, BENCHMARKS, OUTPUT)
    names = [name for name in argv if name != QUICK] or list(BENCHMARKS)
    click.echo("\n".join(f"{name} skipped: {missing}" for name in names))
    click.echo(f"{len(names)} skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
