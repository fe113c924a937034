"""What `embedstep run` costs over the torchrun script that does the same work without it.

Both sides get the same model, files, arguments, evaluation, threads and variables, train with the same seed, report to
a database of the same kind that exists beforehand, save the model and log it to MLflow. Where a choice was open it is
the one that is good for the script: no progress bars, and its `load_dataset` finds its cache filled.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from embedstep.worker.verification import TEXTS
from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import Record, measure, medians
from tests.benchmarks.material import SamplerInputs, material

BOUND = 1.03
REPEATS = 3
BATCH = 32
MAX_SEQ_LENGTH = 64
EVALUATION_ROWS = 200
EXPERIMENT = "bench"
# About a minute each on two cores: two processes work on twice the rows in a step.
STEPS = {1: 40, 2: 20}
LORA = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": "all-linear"}
_FEW_STEPS = 2
_FEW_ROWS = 20
SCRIPT = Path(__file__).with_name("plain_torchrun.py")
_CREATE = (
    "import sys\n"
    "from mlflow import MlflowClient\n"
    "uri, experiment, artifacts = sys.argv[1:]\n"
    "MlflowClient(uri).create_experiment(experiment, artifact_location=artifacts)"
)
_CLOCKED = ("start", "train", "save", "record")

Parts = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What both sides do.

    Attributes:
        given: model and files.
        processes: processes that train together.
        steps: train steps.
        evaluation_rows: held-out pairs that are evaluated.
        peft: PEFT's configuration of an adapter; empty to train all weights.
    """

    given: SamplerInputs
    processes: int
    steps: int
    evaluation_rows: int
    peft: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """The training arguments of both sides."""
        return {
            "max_steps": self.steps,
            "per_device_train_batch_size": BATCH,
            "learning_rate": 2e-5,
            "optim": "adamw_torch",
            "warmup_steps": 0.1,
            "logging_steps": 20,
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "use_cpu": True,
            "dataloader_pin_memory": False,
            "dataloader_drop_last": True,
        }

    def to_request(self) -> dict[str, Any]:
        """Return the document for embedstep."""
        columns = {"anchor": "query", "positive": "docstring"}
        held_out = {"path": str(self.given.evaluation), "columns": columns, "limit": self.evaluation_rows}
        return {
            "model": {"path": str(self.given.model), "max_seq_length": MAX_SEQ_LENGTH, "peft": dict(self.peft)},
            "data": {
                "train": {"docs": {"path": str(self.given.train), "columns": columns}},
                "eval": {"held_out": held_out},
            },
            "loss": "multiple_negatives_ranking",
            "evaluators": [{"kind": "information_retrieval", "name": "docs", "dataset": "held_out"}],
            "arguments": self.arguments,
            "launch": {"processes_per_node": self.processes},
            "tracking": {"experiment": EXPERIMENT},
        }

    def to_script(self) -> dict[str, Any]:
        """Return the same for the script, with what embedstep sets by itself on a CPU."""
        return {
            "model": str(self.given.model),
            "max_seq_length": MAX_SEQ_LENGTH,
            "peft": dict(self.peft),
            "train": str(self.given.train),
            "evaluation": str(self.given.evaluation),
            "evaluation_rows": self.evaluation_rows,
            "example": list(TEXTS[:2]),
            "arguments": {**self.arguments, "ddp_backend": "gloo", "disable_tqdm": True, "report_to": "mlflow"},
        }


class Runner:
    """Runs one side after the other, each time from an empty folder with a database that has no run yet."""

    def __init__(self, folder: Path, cache: Path, work: Work) -> None:
        folder.mkdir()
        self.ours: list[Parts] = []
        self.plain: list[Parts] = []
        self._folder = folder
        self._cache = cache
        self._work = work
        self._sides = {"ours": folder / "ours", "plain": folder / "plain"}
        (folder / "request.yaml").write_text(yaml.safe_dump(work.to_request()))
        (folder / "work.json").write_text(json.dumps(work.to_script()))
        for side in self._sides.values():
            self._create_database(side)

    def run_ours(self) -> float:
        """Run embedstep and keep the seconds of its parts."""
        side = self._sides["ours"]
        command = ["-m", "embedstep", "run", str(self._folder / "request.yaml"), "--output", str(side / "output")]
        total = self._timed(side, command)
        seconds = json.loads((side / "output" / "result.json").read_text())["seconds"]
        self.ours.append(_with_rest(total, {name: seconds[name] for name in _CLOCKED}))
        return total

    def run_plain(self) -> float:
        """Run the script and keep the seconds of its parts."""
        side = self._sides["plain"]
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self._work.processes}"]
        total = self._timed(side, [*torchrun, str(SCRIPT), str(self._folder / "work.json"), str(side / "output")])
        seconds = json.loads((side / "output" / "seconds.json").read_text())
        self.plain.append(_with_rest(total, seconds))
        return total

    def has_same_weights(self) -> bool:
        """Whether both sides saved the same model, byte for byte, the last time."""
        saved = [side / "output" / "model" / "model.safetensors" for side in self._sides.values()]
        return saved[0].read_bytes() == saved[1].read_bytes()

    def _timed(self, side: Path, command: list[str]) -> float:
        shutil.rmtree(side, ignore_errors=True)
        side.mkdir()
        shutil.copyfile(_database(side), side / "mlflow.db")
        # What the run before left to be written would be written during this one.
        os.sync()
        return timed([sys.executable, *command], env=self._environment(side), folder=side)

    def _environment(self, side: Path) -> dict[str, str]:
        cores = len(os.sched_getaffinity(0))
        return environment(
            OMP_NUM_THREADS=str(max(1, cores // self._work.processes)),
            # embedstep sets these two for its workers; here the script gets them too.
            TOKENIZERS_PARALLELISM="true",
            TQDM_DISABLE="1",
            HF_DATASETS_CACHE=str(self._cache),
            MLFLOW_TRACKING_URI=f"sqlite:///{side / 'mlflow.db'}",
            MLFLOW_EXPERIMENT_NAME=EXPERIMENT,
        )

    def _create_database(self, side: Path) -> None:
        """Make the tables, which takes MLflow seconds, outside of what is timed."""
        create = [sys.executable, "-c", _CREATE, f"sqlite:///{_database(side)}", EXPERIMENT]
        timed([*create, (side / "mlartifacts").as_uri()], env=environment(), folder=self._folder)


def _database(side: Path) -> Path:
    return side.with_name(f"{side.name}.db")


def _with_rest(total: float, seconds: Parts) -> Parts:
    """Return the parts with their total and with the time that none of them covers: starting, importing, leaving."""
    return {"total": total, "around the parts": total - sum(seconds.values()), **seconds}


def run_overhead_1(quick: bool) -> Record:
    """Compare on one process."""
    return _compared_with_the_script(_work(1, quick), "run_overhead_1", quick)


def run_overhead_2(quick: bool) -> Record:
    """Compare on two processes."""
    return _compared_with_the_script(_work(2, quick), "run_overhead_2", quick)


def lora(quick: bool) -> Record:
    """Compare an adapter with the script that trains it with PEFT, on one process."""
    return _compared_with_the_script(replace(_work(1, quick), peft=LORA), "lora", quick)


def _work(processes: int, quick: bool) -> Work:
    steps, rows = (_FEW_STEPS, _FEW_ROWS) if quick else (STEPS[processes], EVALUATION_ROWS)
    return Work(given=material(quick), processes=processes, steps=steps, evaluation_rows=rows)


def _compared_with_the_script(work: Work, name: str, quick: bool) -> Record:
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as temporary:
        folder, cache = Path(temporary), Path(temporary) / "datasets"
        if not quick:
            _warm_up(Runner(folder / "warm", cache, replace(work, steps=_FEW_STEPS, evaluation_rows=_FEW_ROWS)))
        runner = Runner(folder / "measured", cache, work)
        record = measure(
            name,
            f"embedstep run / torchrun script{' with PEFT' if work.peft else ''}, "
            f"{work.processes} process{'es' if work.processes > 1 else ''}",
            runner.run_ours,
            runner.run_plain,
            BOUND,
            1 if quick else REPEATS,
        )
        return replace(record, parts=parts_of(runner.ours, runner.plain, same_weights=runner.has_same_weights()))


def _warm_up(runner: Runner) -> None:
    """Run both sides once, so that neither measured side is the first to read the libraries and to fill the cache."""
    runner.run_ours()
    runner.run_plain()


def parts_of(ours: Sequence[Parts], plain: Sequence[Parts], *, same_weights: bool) -> dict[str, float]:
    """Return the median seconds of each part of both sides, and what follows from the two.

    Args:
        ours: parts of each of our runs.
        plain: parts of each run of the script.
        same_weights: whether both saved the same model.
    """
    mine, others = medians(ours), medians(plain)
    return {
        **{f"ours: {name}": seconds for name, seconds in mine.items()},
        **{f"script: {name}": seconds for name, seconds in others.items()},
        # The script only saves; embedstep also loads what it saved and compares.
        "verification": mine["save"] - others["save"],
        "same_weights": float(same_weights),
    }
