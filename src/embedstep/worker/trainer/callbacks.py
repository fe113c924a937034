"""What the library does at the start, after a step and around an epoch, where it is not what the request says."""

from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import RandomSampler
from transformers import TrainerCallback

from embedstep.worker.trainer.loading import RankBatches


class ExactIntervals(TrainerCallback):  # type: ignore[misc]
    """Logs, saves and evaluates by steps where this request says that a step is due, and nowhere else.

    transformers 5 adds the last step of the training; 4.37 did not, and a checkpoint more would be one that
    `load_best_model_at_end` or `save_total_limit` counts. The evaluation that follows a training is the step's own.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go by this request's intervals again, in place of those of the checkpoint that the training goes on from."""
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Take back what the library asks for after the last step."""
        if state.global_step < state.max_steps:
            return control
        if args.eval_strategy == "steps" and not _is_due(state.global_step, state.eval_steps):
            control.should_evaluate = False
        if args.save_strategy == "steps" and not _is_due(state.global_step, state.save_steps):
            control.should_save = False
        return control


class ResumeInsideEpoch(TrainerCallback):  # type: ignore[misc]
    """Lets an epoch that a checkpoint goes on with begin at its step, in its own order.

    The library draws the batches before that step, too, to pass over them; near the end of a large epoch that takes
    nearly half as long again as forming all of its batches. And what it passes over them with keeps the number of the
    epoch from batches that are shared out to several ranks, which would come in the order of the first epoch.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **kwargs: Any) -> None:
        """Draw the orders of the epochs before, where each one depends on how many were drawn (no seedable sampler)."""
        if train_dataloader is None:  # all steps are done
            return
        sampler: Any = getattr(_drawn(train_dataloader), "sampler", None)
        if type(sampler) is RandomSampler:
            for _ in range(_place(args, state, train_dataloader)[0]):
                deque(sampler, maxlen=0)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **kwargs: Any) -> None:
        """Tell the batches their epoch, and how many of them the library passes over."""
        epoch, step = _place(args, state, train_dataloader)
        batches = _drawn(train_dataloader)
        batches.set_epoch(epoch)
        if isinstance(sampler := getattr(batches, "sampler", None), SeedableRandomSampler):
            sampler.set_epoch(epoch)
        if isinstance(batches, RankBatches) and not args.ignore_data_skip:
            batches.resume_at(step)


def _drawn(loader: Any) -> Any:
    """Return what draws the batches, below what shares them out to the ranks."""
    batches = loader.batch_sampler
    while hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    return batches


def _place(args: Any, state: Any, loader: Any) -> tuple[int, int]:
    """Return the epoch that a training stands in, and how many of its batches it has passed, as the library counts."""
    every = args.gradient_accumulation_steps
    epoch, step = divmod(state.global_step, ceil(len(loader) / every))
    return epoch, step * every


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


class AfterResume(TrainerCallback):  # type: ignore[misc]
    """Does what a checkpoint leaves to do before the next step; knows whether the end of the epoch was seen to.

    Attributes:
        epoch_has_ended: whether what is due at the end of the epoch is being done, or was.
    """

    def __init__(self, go_on: Callable[[], None]) -> None:
        self.epoch_has_ended = False
        self._go_on = go_on

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on, once the library has loaded the checkpoint."""
        self._go_on()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin another epoch."""
        self.epoch_has_ended = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See to the end of the epoch."""
        self.epoch_has_ended = True
