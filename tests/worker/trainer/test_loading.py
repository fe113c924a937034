"""The rows that reach the loss: by number, in the order of roles, as a sampler promises, and drawn in each epoch."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from accelerate.data_loader import SkipBatchSampler
from datasets import Dataset
from torch.utils.data import DataLoader

from embedstep.data.transforms import RowDrawer, transform_kind
from embedstep.output.result import StepResult
from embedstep.request.loading import load_request
from embedstep.sampling.epochs import Epochs, Sampler
from embedstep.step import plan_step
from embedstep.worker.trainer import build
from embedstep.worker.trainer.loading import ConcatenatedDatasets, RankBatches
from embedstep.worker.trainer.trainer import StepTrainer
from tests.conftest import pair_rows
from tests.worker.trainer.test_batch_checks import pairs

Build = Callable[..., dict[str, Any]]
Train = Callable[[Mapping[str, Any]], StepResult]
TEXTS = [row["positive"] for row in pair_rows(12)]
NOISE = {"path": "train.jsonl", "transform": "delete_words", "columns": {"anchor": "positive", "positive": "positive"}}
PAIRS = {"path": "train.jsonl", "transform": "contrastive_pairs", "columns": {"anchor": "positive"}}


@pytest.mark.parametrize(("drop_last", "batches"), [(False, 5), (True, 4)])
def test_evaluations_keep_what_the_sampler_promises_and_deliver_what_was_announced(
    train_here: Train, evaluated: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drop_last: bool, batches: int
) -> None:
    """Ten answers stand in two rows each: four batches of five different ones, and one of the two rows left over."""
    rows = [{"q": f"question {row}", "a": f"answer {row % 10}"} for row in range(20)]
    rows += [{"q": f"question {row}", "a": f"another answer {row}"} for row in (20, 21)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(map(json.dumps, rows)))
    read: list[list[int]] = []
    whole = ConcatenatedDatasets.__getitems__

    def recorded(dataset: ConcatenatedDatasets, places: list[int]) -> list[dict[str, Any]]:
        read.append(places)
        return whole(dataset, places)

    monkeypatch.setattr(ConcatenatedDatasets, "__getitems__", recorded)
    losses: list[float] = []
    step = StepTrainer.prediction_step

    def measured(*arguments: Any, **options: Any) -> Any:
        found = step(*arguments, **options)
        losses.append(float(found[0]))
        return found

    monkeypatch.setattr(StepTrainer, "prediction_step", measured)
    document = evaluated(
        arguments={
            "batch_sampler": "no_duplicates", "max_steps": 1, "eval_strategy": "steps", "eval_steps": 1,
            "per_device_eval_batch_size": 5, "dataloader_drop_last": drop_last,
        },
        evaluators=[],
    )  # fmt: skip
    document["data"]["eval"]["docs"] = {"path": str(pairs), "columns": {"anchor": "q", "positive": "a"}}
    plan = plan_step(load_request(json.dumps(document)))
    assert {item.split: item.batches for item in plan.datasets}["eval"] == batches
    result = train_here(document)
    evaluated_rows = read[-batches:]
    # Each row counts once: the library would count the two rows of the last batch as five.
    weighted = sum(len(places) * loss for places, loss in zip(evaluated_rows, losses, strict=True))
    assert result.metrics["eval_loss"] == pytest.approx(weighted / sum(map(len, evaluated_rows)), rel=1e-6)
    assert [len(places) for places in evaluated_rows] == [5, 5, 5, 5, 2][:batches]
    assert len({row for places in evaluated_rows for row in places}) == (20 if drop_last else 22)
    for places in evaluated_rows:
        assert len({rows[row]["a"] for row in places}) == len(places)


def test_columns_reach_the_loss_in_the_order_of_their_roles(
    train_here: Train, request_of: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers.base.data_collator import BaseDataCollator

    seen: list[dict[str, Any]] = []
    collate = BaseDataCollator.__call__

    def spy(self: Any, rows: list[dict[str, Any]]) -> Any:
        seen.extend(rows)
        return collate(self, rows)

    monkeypatch.setattr(BaseDataCollator, "__call__", spy)
    monkeypatch.setattr(build, "token_ids", lambda *arguments: {})  # to see the texts
    # In the file `positive` stands before `anchor`, with `id`, `negative`, `score` and `class`.
    assert train_here(request_of()).exit_code == 0
    assert list(seen[0]) == ["anchor", "positive"]
    assert all(row["positive"].startswith("how to ") for row in seen)


def test_steps_before_the_one_to_resume_at_are_empty() -> None:
    """accelerate draws and skips them; without them a loader would stop at once, and train on nothing."""
    rows = pairs(*((f"a{row}", f"b{row}") for row in range(32)))
    sampler = Sampler(rows=32, size=4, drop_last=True, seed=0)
    batches = RankBatches(
        Epochs(samplers=(sampler,), world_size=1, mixing="proportional", seed=0), 0, [rows], "x", in_training=True
    )
    whole = list(batches)
    batches.resume_at(5)
    assert list(batches) == [[]] * 5 + whole[5:]
    assert list(SkipBatchSampler(batches, skip_batches=5)) == whole[5:]
    with pytest.raises(IndexError):
        ConcatenatedDatasets([rows], [{}]).__getitems__([])


def test_an_evaluation_has_the_same_batches_every_time() -> None:
    """Loaders that stay alive count their rounds as epochs; losses are compared over the same batches."""
    rows = pairs(*((f"a{row}", f"b{row}") for row in range(32)))
    sampler = Sampler(rows=32, size=4, drop_last=True, seed=0)
    epochs = Epochs(samplers=(sampler,), world_size=1, mixing="proportional", seed=0)
    for in_training in (False, True):
        batches = RankBatches(epochs, 0, [rows], "no_duplicates", in_training=in_training)
        first = list(batches)
        batches.set_epoch(1)
        assert (list(batches) == first) != in_training


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
