"""Corrections of the library's loop: intervals as they were requested, and an epoch that begins inside."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import BatchSampler, DataLoader, RandomSampler
from transformers import TrainerControl, TrainerState

from embedstep.sampling.epochs import Epochs, Sampler
from embedstep.worker.trainer.callbacks import AfterResume, ExactIntervals, ResumeInsideEpoch
from embedstep.worker.trainer.loading import ConcatenatedDatasets, RankBatches


def arguments(**given: Any) -> Any:
    return SimpleNamespace(**{
        "eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 3, "save_steps": 4, "logging_steps": 2,
        "gradient_accumulation_steps": 1, "ignore_data_skip": False, **given,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("step", "given", "evaluates", "saves"),
    [
        (6, {}, True, False),
        (6, {"eval_steps": 4, "save_steps": 3}, False, True),
        (6, {"eval_steps": 0.5, "save_steps": 0}, True, False),
        (6, {"eval_strategy": "epoch", "save_strategy": "epoch"}, True, True),
        (5, {}, True, True),
    ],
)
def test_the_last_step_is_evaluated_and_saved_where_the_interval_says_so(
    step: int, given: dict[str, Any], evaluates: bool, saves: bool
) -> None:
    """A checkpoint brings along the intervals of the request before."""
    state = TrainerState(global_step=step, max_steps=6, eval_steps=500, save_steps=500)
    control = TrainerControl(should_evaluate=True, should_save=True)
    intervals = ExactIntervals()
    intervals.on_train_begin(arguments(**given), state, control)
    intervals.on_step_end(arguments(**given), state, control)
    assert (control.should_evaluate, control.should_save) == (evaluates, saves)


@pytest.mark.parametrize(
    ("step", "accumulation", "skips", "epoch", "begin"),
    [(0, 1, True, 0, 0), (5, 1, True, 0, 5), (11, 1, True, 1, 3), (5, 2, True, 1, 2), (11, 1, False, 1, 0)],
)
def test_an_epoch_begins_at_the_step_of_the_checkpoint(
    step: int, accumulation: int, skips: bool, epoch: int, begin: int
) -> None:
    """Eight batches are an epoch; the library skips those before, which are empty."""
    rows = Dataset.from_dict({"anchor": [f"a{row}" for row in range(32)]})

    def batches() -> RankBatches:
        sampler = Sampler(rows=32, size=4, drop_last=True, seed=0)
        epochs = Epochs(samplers=(sampler,), world_size=1, mixing="proportional", seed=0)
        return RankBatches(epochs, 0, [rows], "batch_sampler", in_training=True)

    whole = batches()
    whole.set_epoch(epoch)
    loader = DataLoader(ConcatenatedDatasets([rows], [{}]), batch_sampler=batches())
    given = arguments(gradient_accumulation_steps=accumulation, ignore_data_skip=not skips)
    ResumeInsideEpoch().on_epoch_begin(given, TrainerState(global_step=step), TrainerControl(), loader)
    assert list(loader.batch_sampler) == [[]] * begin + list(whole)[begin:]


def test_orders_that_are_drawn_one_after_the_other_are_drawn_up_to_the_epoch() -> None:
    whole = RandomSampler(range(8), generator=torch.Generator().manual_seed(7))
    orders = [list(whole) for _ in range(3)]
    resumed = RandomSampler(range(8), generator=torch.Generator().manual_seed(7))
    loader = DataLoader(range(8), batch_sampler=BatchSampler(resumed, 2, drop_last=False))
    ResumeInsideEpoch().on_train_begin(arguments(), TrainerState(global_step=9), TrainerControl(), loader)
    assert list(resumed) == orders[2]


def test_the_loop_is_restored_once_the_library_has_loaded_the_checkpoint() -> None:
    restored: list[str] = []
    after = AfterResume(lambda: restored.append("restored"))
    assert restored == []
    after.on_train_begin(None, None, None)
    seen = []
    for happens in (after.on_epoch_begin, after.on_epoch_end, after.on_epoch_begin):
        happens(None, None, None)
        seen.append(after.epoch_has_ended)
    assert (restored, seen) == (["restored"], [False, True, False])
