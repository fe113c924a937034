"""Many small steps, each of them logged: what a step costs beyond the trainer's own, in CPU seconds and in memory."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import yaml

from tests.benchmarks.commands import environment
from tests.benchmarks.harness import BenchmarkError, Record, measure
from tests.benchmarks.material import material
from tests.benchmarks.overhead import SCRIPT

BOUND = 1.05
REPEATS = 3
STEPS, _FEW_STEPS = 4_000, 50
_LAYERS, _WIDTH = 2, 64
_ROOT = Path(__file__).parents[2]


def small_steps(quick: bool) -> Record:
    """Compare a run of `logging_steps: 1` with the script, both without a tracker."""
    given, steps = material(quick), _FEW_STEPS if quick else STEPS
    arguments = {
        "max_steps": steps, "per_device_train_batch_size": 4, "learning_rate": 1e-4, "optim": "adamw_torch",
        "logging_steps": 1, "save_strategy": "no", "use_cpu": True, "dataloader_pin_memory": False,
        "dataloader_drop_last": True,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)
        model = _small_model(given.model, folder / "model")
        columns = {"anchor": "query", "positive": "docstring"}
        request = {
            "model": {"path": str(model), "max_seq_length": 32},
            "data": {"train": {"docs": {"path": str(given.train), "columns": columns}}},
            "loss": "multiple_negatives_ranking",
            "arguments": arguments,
            "tracking": {"kind": "none"},
        }
        (folder / "request.yaml").write_text(yaml.safe_dump(request))
        script = {
            "model": str(model), "max_seq_length": 32, "peft": {}, "train": str(given.train),
            "evaluation": str(given.evaluation), "evaluation_rows": 20, "example": [],
            "arguments": {**arguments, "ddp_backend": "gloo", "disable_tqdm": True, "report_to": "none"},
        }  # fmt: skip
        (folder / "work.json").write_text(json.dumps(script))
        ours = _Side(folder, ["-m", "embedstep", "run", "request.yaml", "--output", "ours", "--overwrite"])
        other = _Side(
            folder,
            ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", str(SCRIPT), "work.json", "plain"],
        )
        repeats = 1 if quick else REPEATS
        compares = f"CPU: embedstep run / script, {steps:,} steps, each logged"
        record = measure("small_steps", compares, ours.run, other.run, BOUND, repeats)
        memory = {"memory (MB)": median(ours.megabytes), "script: memory (MB)": median(other.megabytes)}
        ratio = {"memory ratio": median(ours.megabytes) / median(other.megabytes)}
        return replace(record, parts={**memory, **ratio})


class _Side:
    """A program whose CPU seconds and largest process are measured."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.megabytes: list[float] = []
        self._folder = folder
        self._command = [sys.executable, *command]

    def run(self) -> float:
        """Run it and return the CPU seconds of all of its processes."""
        # In a process of its own, because the largest child of this one would be that of the other side.
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            _exit_with(lambda: self._measure(writing))
        os.close(writing)
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        if not text:
            raise BenchmarkError((self._folder / "output.log").read_text(errors="replace")[-2000:])
        seconds, kilobytes = map(float, text.split())
        self.megabytes.append(kilobytes / 1024)
        return seconds

    def _measure(self, writing: int) -> None:
        env = environment(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="true", TQDM_DISABLE="1")
        env["HF_DATASETS_CACHE"] = str(self._folder / "datasets")
        with (self._folder / "output.log").open("wb") as log:
            subprocess.run(self._command, cwd=self._folder, env=env, stdout=log, stderr=log, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(writing, f"{used.ru_utime + used.ru_stime} {used.ru_maxrss}".encode())


def _exit_with(work: Callable[[], None]) -> None:
    """Do the work in a forked process and end it, whatever happens."""
    try:
        work()
    finally:
        os._exit(0)


def _small_model(tokenizer: Path, folder: Path) -> Path:
    """Save a BERT whose steps take some milliseconds."""
    make = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.random_bert import save_bert\n"
        "save_bert(Path(sys.argv[1]), Path(sys.argv[2]), layers=int(sys.argv[3]), width=int(sys.argv[4]))\n"
    )
    command = [sys.executable, "-c", make, str(folder), str(tokenizer), str(_LAYERS), str(_WIDTH)]
    subprocess.run(command, env=environment(PYTHONPATH=str(_ROOT)), check=True, capture_output=True)
    return folder / "model"
