"""How long it takes to the end of the first train step, against a plain script that reads the same Parquet file.

Both sides train the same small model on the same rows, of 12 and 80 words, with batches of 16; both are ended after the
step. The script gets two seconds more, and ten with five million rows: that is what the checks of the rows may cost. In
a second run, where both sides find the rows of the first one, it gets one.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.benchmarks.commands import environment, timed
from tests.benchmarks.harness import BenchmarkError, Record, measure
from tests.benchmarks.material import minilm

ROWS = {"100k": 100_000, "1m": 1_000_000, "5m": 5_000_000}
ALLOWED_SECONDS = {"100k": 2.0, "1m": 2.0, "5m": 10.0}
ALLOWED_SECONDS_AGAIN = 1.0
_FEW_ROWS = 2_000
_AT_ONCE = 20_000
_WORDS = (12, 80)
_TIMEOUT = 900
_POLL_SECONDS = 0.02
_ARGUMENTS = {
    "max_steps": 1_000, "per_device_train_batch_size": 16, "logging_steps": 1, "save_strategy": "no", "use_cpu": True,
    "dataloader_pin_memory": False,
}  # fmt: skip


def first_step_100k(quick: bool) -> Record:
    """Compare 100,000 rows."""
    return _compared("100k", quick)


def first_step_1m(quick: bool) -> Record:
    """Compare a million rows."""
    return _compared("1m", quick)


def first_step_5m(quick: bool) -> Record:
    """Compare five million rows."""
    return _compared("5m", quick)


def first_step_100k_again(quick: bool) -> Record:
    """Compare second runs on 100,000 rows."""
    return _compared("100k", quick, again=True)


def first_step_1m_again(quick: bool) -> Record:
    """Compare second runs on a million rows."""
    return _compared("1m", quick, again=True)


def _compared(size: str, quick: bool, *, again: bool = False) -> Record:
    rows = _FEW_ROWS if quick else ROWS[size]
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as name:
        folder = Path(name)
        model = minilm()
        write_rows(folder / "rows.parquet", rows, model)
        request = {
            "model": {"path": str(model), "max_seq_length": 32},
            "data": {"train": {"docs": {"path": "rows.parquet", "columns": {"anchor": "query", "positive": "text"}}}},
            "loss": "multiple_negatives_ranking",
            "arguments": _ARGUMENTS,
            "tracking": {"kind": "none"},
        }
        (folder / "request.yaml").write_text(yaml.safe_dump(request))
        (folder / "work.json").write_text(json.dumps({"model": str(model), "arguments": _ARGUMENTS}))
        allowed = ALLOWED_SECONDS_AGAIN if again else ALLOWED_SECONDS[size]
        seconds: list[float] = []

        def ours() -> float:
            return _to_first_line(folder, _command("request.yaml"), folder / "ours" / "metrics.jsonl", again=again)

        def plain() -> float:
            command = ("-m", __name__, "work.json")
            seconds.append(_to_first_line(folder, command, folder / "plain.jsonl", again=again))
            return seconds[-1] + allowed

        if again:
            short = {**request, "arguments": {**_ARGUMENTS, "max_steps": 1}}
            (folder / "short.yaml").write_text(yaml.safe_dump(short))
            timed([sys.executable, *_command("short.yaml")], env=_environment(folder), folder=folder)
            plain()
            seconds.clear()
        record = measure(
            f"first_step_{size}" + "_again" * again,
            f"first step of {rows:,} rows / plain script + {allowed:g} s" + ", second runs" * again,
            ours,
            plain,
            1.0,
            1 if quick else 3,
        )
        return replace(record, parts={"plain script": sorted(seconds)[len(seconds) // 2]})


def write_rows(path: Path, rows: int, model: Path) -> None:
    """Write pairs of random words of the model's vocabulary."""
    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    words = np.array([word for word in vocabulary if word.isalpha() and len(word) > 2])
    drawn = np.random.default_rng(0)

    def texts(count: int, length: int) -> list[str]:
        return [" ".join(text) for text in words[drawn.integers(0, len(words), (count, length))]]

    with pq.ParquetWriter(path, pa.schema([("query", pa.string()), ("text", pa.string())])) as writer:
        for start in range(0, rows, _AT_ONCE):
            count = min(_AT_ONCE, rows - start)
            query, text = (texts(count, length) for length in _WORDS)
            writer.write_table(pa.table({"query": query, "text": text}))


def _command(request: str) -> tuple[str, ...]:
    return ("-m", "embedstep", "run", request, "--output", "ours", "--overwrite")


def _environment(cache: Path) -> dict[str, str]:
    places = {"HF_DATASETS_CACHE": cache / "datasets", "EMBEDSTEP_CACHE": cache / "embedstep"}
    return environment(PYTHONPATH=str(Path.cwd()), **{name: str(place) for name, place in places.items()})


def _to_first_line(folder: Path, command: Sequence[str], written: Path, *, again: bool) -> float:
    """Run a program until it has written a line, and return how long that took; then end it."""
    written.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="embedstep-bench-") as cache:
        env = _environment(folder if again else Path(cache))
        started = time.perf_counter()
        with (folder / "output.log").open("wb") as log:
            process = psutil.Popen([sys.executable, *command], cwd=folder, env=env, stdout=log, stderr=log)
            try:
                while not (written.exists() and written.stat().st_size):
                    if process.poll() is not None or time.perf_counter() - started > _TIMEOUT:
                        raise BenchmarkError((folder / "output.log").read_text(errors="replace")[-2_000:])
                    time.sleep(_POLL_SECONDS)
                return time.perf_counter() - started
            finally:
                # All at once: ranks that outlive their launcher would save a checkpoint into the next measurement.
                processes = [process, *process.children(recursive=True)]
                for one in processes:
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
                psutil.wait_procs(processes)


def main(given: Path) -> None:
    """Train as a plain script does, and write a line after the first step."""
    from datasets import load_dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    class _Line(TrainerCallback):  # type: ignore[misc]
        def on_log(self, *arguments: Any, **options: Any) -> None:
            given.with_name("plain.jsonl").write_text("{}\n")

    work = json.loads(given.read_text())
    model = SentenceTransformer(work["model"], device="cpu")
    model.max_seq_length = 32
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments("plain", report_to=[], disable_tqdm=True, **work["arguments"]),
        train_dataset=load_dataset("parquet", data_files="rows.parquet", split="train"),
        loss=MultipleNegativesRankingLoss(model),
        callbacks=[_Line()],
    ).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
