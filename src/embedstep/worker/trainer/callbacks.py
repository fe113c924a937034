"""Callbacks that correct the library's loop at its start, after a step and around an epoch."""

from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import RandomSampler
from transformers import TrainerCallback

from embedstep.worker.trainer.loading import RankBatches


class ExactIntervals(TrainerCallback):  # type: ignore[misc]
    """Logs, saves and evaluates only at the steps that the request's intervals give.

    transformers 5 adds the last step of the training and 4.37 did not; an additional checkpoint would count for
    `load_best_model_at_end` and `save_total_limit`. The step evaluates the final model itself.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Use this request's intervals in place of those that the checkpoint brought along."""
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Cancel what the library adds after the last step."""
        if state.global_step < state.max_steps:
            return control
        if args.eval_strategy == "steps" and not _is_due(state.global_step, state.eval_steps):
            control.should_evaluate = False
        if args.save_strategy == "steps" and not _is_due(state.global_step, state.save_steps):
            control.should_save = False
        return control


class ResumeInsideEpoch(TrainerCallback):  # type: ignore[misc]
    """Starts an epoch at the step of the checkpoint, in the order of that epoch.

    The library forms the batches before that step too and skips them; late in a large epoch, that takes nearly half
    as long again as forming all its batches. Its skipping also hides `set_epoch` from batches that are distributed
    over several ranks, which would then come in the order of the first epoch.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **kwargs: Any) -> None:
        """Draw the orders of earlier epochs if each depends on the number drawn before (no seedable sampler)."""
        if train_dataloader is None:  # all steps are done
            return
        sampler: Any = getattr(_innermost_batches(train_dataloader), "sampler", None)
        if type(sampler) is RandomSampler:
            for _ in range(_position(args, state, train_dataloader)[0]):
                deque(sampler, maxlen=0)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **kwargs: Any) -> None:
        """Set the epoch of the batches, and how many of them the library skips."""
        epoch, step = _position(args, state, train_dataloader)
        train_dataloader.dataset.draw_for(epoch)
        batches = _innermost_batches(train_dataloader)
        batches.set_epoch(epoch)
        if isinstance(sampler := getattr(batches, "sampler", None), SeedableRandomSampler):
            sampler.set_epoch(epoch)
        if isinstance(batches, RankBatches) and not args.ignore_data_skip:
            batches.resume_at(step)


def _innermost_batches(loader: Any) -> Any:
    """Return what forms the batches, inside the samplers that distribute them over the ranks."""
    batches = loader.batch_sampler
    while hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    return batches


def _position(args: Any, state: Any, loader: Any) -> tuple[int, int]:
    """Return the epoch of a training and the batches of it that are done, counted as the library does."""
    every = args.gradient_accumulation_steps
    epoch, step = divmod(state.global_step, ceil(len(loader) / every))
    return epoch, step * every


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


class AfterResume(TrainerCallback):  # type: ignore[misc]
    """Does what was due after the step of the checkpoint, before the next step.

    Attributes:
        epoch_has_ended: whether the actions of the end of the epoch are in progress or done.
    """

    def __init__(self, restore: Callable[[], None]) -> None:
        self.epoch_has_ended = False
        self._restore = restore

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore the loop, now that the library has loaded the checkpoint."""
        self._restore()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note that an epoch has begun."""
        self.epoch_has_ended = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note that what follows belongs to the end of the epoch."""
        self.epoch_has_ended = True
