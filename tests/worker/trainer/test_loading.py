"""What the data loader reads: rows by number, and what is drawn of them in each epoch."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from embedstep.data.transforms import RowDrawer, transform_kind
from embedstep.output.result import StepResult
from embedstep.worker.trainer.loading import ConcatenatedDatasets
from tests.conftest import pair_rows

Build = Callable[..., dict[str, Any]]
TEXTS = [row["positive"] for row in pair_rows(12)]
NOISE = {"path": "train.jsonl", "transform": "delete_words", "columns": {"anchor": "positive", "positive": "positive"}}
PAIRS = {"path": "train.jsonl", "transform": "contrastive_pairs", "columns": {"anchor": "positive"}}


def drawer(name: str, where: str, **options: Any) -> RowDrawer:
    return RowDrawer(where=where, kind=transform_kind(name), options=options, seed=42, rows=len(TEXTS))


def epochs_read(workers: int) -> list[list[Any]]:
    """Three epochs of two datasets, of which one is taken as it stands, and the third epoch drawn as the first."""
    noisy = Dataset.from_dict({"positive": TEXTS, "anchor": TEXTS})
    pairs = Dataset.from_dict({"anchor": TEXTS})
    drawers = [
        drawer("delete_words", "train.docs", ratio=0.5),
        None,
        drawer("contrastive_pairs", "train.ct", pos_neg_ratio=2),
    ]
    rows = ConcatenatedDatasets([noisy, noisy, pairs], [{}, {}, {}], drawers)
    batches = [list(range(start, start + 4)) for start in range(0, 36, 4)]
    loader = DataLoader(
        rows, batch_sampler=batches, collate_fn=list, num_workers=workers, persistent_workers=workers > 0
    )
    found = []
    for epoch in (0, 1, 0):
        rows.draw_for(epoch)
        found.append([row for batch in loader for row in batch])
    return found


def test_each_epoch_draws_other_rows_and_workers_draw_the_same() -> None:
    first, second, again = epochs_read(0)
    assert first == again
    assert [list(row) for row in first[::12]] == [
        ["anchor", "positive"], ["positive", "anchor"], ["anchor", "positive", "label"],
    ]  # fmt: skip
    noisy = [[row["anchor"] for row in rows[:12]] for rows in (first, second)]
    assert noisy[0] != noisy[1] != TEXTS
    assert [row["positive"] for row in first[:12]] == TEXTS
    assert first[12:24] == second[12:24]
    assert first[24:] != second[24:]
    assert all((row["anchor"] == row["positive"]) == bool(row["label"]) for row in first[24:] + second[24:])
    assert epochs_read(2) == [first, second, first]


@pytest.mark.parametrize(("dataset", "loss"), [(NOISE, "denoising_auto_encoder"), (PAIRS, "contrastive_tension")])
def test_a_training_draws_in_each_epoch_and_an_evaluation_the_same_each_time(
    train_here: Callable[..., StepResult], request_of: Build, data_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, dataset: dict[str, Any], loss: str,
) -> None:  # fmt: skip
    drawn: Counter[tuple[str, int]] = Counter()
    draw = RowDrawer.draw

    def counted(self: RowDrawer, row: Any, number: int, epoch: int, read: Any) -> dict[str, Any]:
        drawn[self.where, epoch] += 1
        return draw(self, row, number, epoch, read)

    files = {"train": "train.jsonl", "eval": "eval.jsonl", "test": "eval.jsonl"}
    request = request_of(
        data={split: {"docs": {**dataset, "path": str(data_folder / file)}} for split, file in files.items()},
        loss=loss,
        arguments={"max_steps": -1, "num_train_epochs": 2, "per_device_train_batch_size": 65, "do_predict": True,
                   "learning_rate": 0, "eval_strategy": "epoch", "logging_steps": 1},
    )  # fmt: skip
    monkeypatch.setattr(RowDrawer, "draw", counted)
    monkeypatch.setattr(RowDrawer, "require_repeatable", lambda self, read: None)
    result = train_here(request)
    assert result.exit_code == 0, result.failure
    assert drawn == {("train.docs", 0): 130, ("train.docs", 1): 130, ("eval.docs", 0): 80, ("test.docs", 0): 40}
    logged = [json.loads(line) for line in (tmp_path / "output" / "metrics.jsonl").read_text().splitlines()]
    losses = {line["eval_loss"] for line in logged if "eval_loss" in line}
    assert len(losses) == 1
