"""Batches without a text twice: ours from the prepared file to the last batch, against the library's hashed sampler.

That one is stopped after a while where it would take very long; its seconds are then those for all rows at the speed
that it had until then, which favours it, because it gets slower towards the end.
"""

import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedstep.data.ids import text_ids
from embedstep.sampling.epochs import Epochs, Sampler
from embedstep.sampling.texts import Texts, group_texts
from tests.benchmarks.harness import Record, measure

LIMIT = 60.0
REPEATS = 5
_MANY = 1_000_000
_INPUTS = ("anchor", "positive")


def repeats(quick: bool) -> Record:
    """200,000 pairs of which 30 % repeat a text, in batches of 64."""
    rows = 2_000 if quick else 200_000
    record = _compared_with_hashed("sampler_repeats", _uniform(rows), 64, 0.1, quick)
    return record if quick else replace(record, parts=_at_a_million())


def few_answers(quick: bool) -> Record:
    """20,000 questions with 1,000 answers, of which few are most frequent, in batches of 64."""
    rows = 1_000 if quick else 20_000
    return _compared_with_hashed("sampler_few", _zipf(rows, 1_000), 64 if not quick else 8, 0.005, quick)


def frequent_answers(quick: bool) -> Record:
    """100,000 questions with 2,000 answers, of which few are most frequent, in batches of 128."""
    rows = 1_000 if quick else 100_000
    return _compared_with_hashed("sampler_frequent", _zipf(rows, 2_000), 128 if not quick else 8, 0.001, quick)


def resuming(quick: bool) -> Record:
    """The first batch of an epoch of a million pairs that is resumed at 90 %, compared with its beginning.

    Both by the way that the trainer goes; the parts have the same of the library's default sampler.
    """
    rows = 2_000 if quick else _MANY
    with tempfile.TemporaryDirectory() as folder:
        sampler = _sampler(group_texts(text_ids(_written(_uniform(rows), Path(folder)), _INPUTS)), 64)
    epochs = Epochs(samplers=(sampler,), world_size=1, mixing="proportional", seed=0)
    late = int(epochs.steps * 0.9)
    record = measure(
        "resuming",
        f"{rows:,} rows, batches of 64, first batch at 90 % / at 0 %",
        lambda: _first_batch(_ours(epochs), late),
        lambda: _first_batch(_ours(epochs), 0),
        1.1,
        1 if quick else REPEATS,
    )
    own = _seconds(lambda: _first_batch(_own(rows), 0))
    return replace(record, parts={"default sampler": _seconds(lambda: _first_batch(_own(rows), late)) / own})


def _first_batch(batches: Any, start: int) -> None:
    """Draw the first batch of the second epoch that resumes at a step, as the trainer does."""
    from accelerate import skip_first_batches
    from torch.utils.data import DataLoader
    from transformers import TrainerState

    from embedstep.worker.trainer.callbacks import ResumeInsideEpoch

    loader = DataLoader(range(_MANY), batch_sampler=batches, collate_fn=len)
    arguments = SimpleNamespace(gradient_accumulation_steps=1, ignore_data_skip=False)
    state = TrainerState(global_step=len(batches) + start)
    ResumeInsideEpoch().on_epoch_begin(arguments, state, None, train_dataloader=loader)
    batches.set_epoch(1)
    assert next(iter(skip_first_batches(loader, start))) == 64


def _ours(epochs: Epochs) -> Any:
    from embedstep.worker.trainer.loading import RankBatches

    return RankBatches(epochs, 0, [range(_MANY)], "batch_sampler", in_training=True)


def _own(rows: int) -> Any:
    import torch
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from torch.utils.data import SubsetRandomSampler

    order = torch.Generator()
    return DefaultBatchSampler(SubsetRandomSampler(range(rows), order), 64, True, generator=order, seed=0)


def _uniform(rows: int) -> pa.Table:
    random = np.random.RandomState(0)
    texts = int(rows * 0.7)
    return _table(random.randint(0, texts, rows), random.randint(0, texts, rows))


def _zipf(rows: int, answers: int) -> pa.Table:
    return _table(np.arange(rows), np.random.RandomState(0).zipf(1.2, rows) % answers)


def _table(questions: NDArray[np.int64], answers: NDArray[np.int64]) -> pa.Table:
    return pa.table({
        "anchor": [f"what does the documentation say about topic number {number}" for number in questions],
        "positive": [f"this is the paragraph that answers questions about topic {number}" for number in answers],
    })  # fmt: skip


def _compared_with_hashed(name: str, table: pa.Table, size: int, bound: float, quick: bool) -> Record:
    from datasets import Dataset
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    with tempfile.TemporaryDirectory() as folder:
        file = _written(table, Path(folder))

        def ours() -> float:
            started = time.perf_counter()
            sampler = _sampler(group_texts(text_ids(file, _INPUTS)), size)
            batches = sum(
                1 for _ in Epochs(samplers=(sampler,), world_size=1, mixing="proportional", seed=0).rows_of(0, 0)
            )
            assert batches == sampler.count
            return time.perf_counter() - started

        def hashed() -> float:
            import torch

            started = time.perf_counter()
            sampler = NoDuplicatesBatchSampler(
                Dataset(table), size, True, generator=torch.Generator(), precompute_hashes=True, precompute_num_proc=1
            )
            done = 0
            for batch in sampler:
                done += len(batch)
                if time.perf_counter() - started > LIMIT:
                    break
            seconds = time.perf_counter() - started
            return seconds if seconds < LIMIT else seconds * table.num_rows / done

        # The first call loads what pyarrow computes with; what the other side loads is imported above.
        ours()
        compares = f"{table.num_rows:,} rows, batches of {size} / hashed sampler"
        return measure(name, compares, ours, hashed, bound, 1 if quick or name == "sampler_frequent" else REPEATS)


def _written(table: pa.Table, folder: Path) -> Path:
    file = folder / "rows.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    return file


def _sampler(texts: Texts, size: int) -> Sampler:
    return Sampler(rows=texts.rows, size=size, drop_last=True, seed=0, texts=texts)


def _at_a_million() -> Mapping[str, float]:
    """What a million pairs take, in the ways that the other side is too slow for."""
    parts: dict[str, float] = {}
    for name, table in (("uniform", _uniform(_MANY)), ("zipf", _zipf(_MANY, 2_000))):
        with tempfile.TemporaryDirectory() as folder:
            file = _written(table, Path(folder))
            parts[f"million rows/s, text to batches, {name}"] = 1 / _seconds(partial(_from_text, file))
            sampler = _sampler(group_texts(text_ids(file, _INPUTS)), 64)
            assert sampler.count
            parts[f"million rows/s, later epochs, {name}"] = 1 / _seconds(partial(sampler.batches, 1))
    texts = sampler.texts
    assert texts is not None
    one = _seconds(partial(_whole_share, texts, 1, 1024 * 8))
    for ranks in (64, 1024):
        parts[f"share of a rank, {ranks} ranks / 1"] = (
            _seconds(partial(_whole_share, texts, ranks, 1024 * 8 // ranks)) / one
        )
    tracemalloc.start()
    sampler.batches(2)
    parts["bytes a row over the ids"] = tracemalloc.get_traced_memory()[1] / _MANY
    tracemalloc.stop()
    return parts


def _from_text(file: Path) -> None:
    """Form all batches of the first epoch."""
    assert _sampler(group_texts(text_ids(file, _INPUTS)), 64).count


def _whole_share(texts: Texts, ranks: int, size: int) -> None:
    """Go through all steps of an epoch of one rank."""
    sampler = _sampler(texts, size * ranks)
    epochs = Epochs(samplers=(sampler,), world_size=ranks, mixing="proportional", seed=0)
    assert sum(1 for _ in epochs.rows_of(0, 0)) == epochs.steps


def _seconds(work: Callable[[], object]) -> float:
    """The least of three times: what is measured here is our own, and nothing else."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
