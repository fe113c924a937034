"""What the library does at the start, after a step and around an epoch, where it is not what the request says."""

from collections.abc import Callable
from math import ceil
from typing import Any

from transformers import TrainerCallback

from embedstep.worker.loading import RankBatches


class DueSteps(TrainerCallback):  # type: ignore[misc]
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


class BeginsInside(TrainerCallback):  # type: ignore[misc]
    """Lets an epoch that a checkpoint goes on with begin at its step.

    The library draws the batches before that step, too, to pass over them; near the end of a large epoch that takes
    nearly half as long again as forming all of its batches.
    """

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **kwargs: Any) -> None:
        """Tell the batches how many of them the library passes over, by its own arithmetic."""
        batches = train_dataloader.batch_sampler
        if isinstance(batches, RankBatches) and not args.ignore_data_skip:
            every = args.gradient_accumulation_steps
            batches.begin_at(state.global_step % ceil(len(batches) / every) * every)


def _is_due(step: int, interval: int) -> bool:
    return interval > 0 and step % interval == 0


class GoesOn(TrainerCallback):  # type: ignore[misc]
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
