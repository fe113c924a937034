"""Ending a training before its last step, on all ranks after the same one."""

import time
from typing import Any

import torch
from transformers import TrainerCallback

from embedstep.cost import HOUR


class StopsInTime(TrainerCallback):  # type: ignore[misc]
    """Ends the training after a number of hours, with an evaluation and a checkpoint where the run has such.

    The clock is the first rank's. The others ask it after each step, because a rank that went on alone would wait for
    the others for ever.
    """

    def __init__(self, hours: float) -> None:
        self.stopped_after: int | None = None
        self._hours = hours
        self._deadline = time.monotonic() + hours * HOUR

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the clock, unless this was the last step anyway."""
        if state.global_step >= state.max_steps or not _of_first_rank(time.monotonic() > self._deadline, args.device):
            return
        self.stopped_after = state.global_step
        control.should_training_stop = True
        # What is due at the end of an epoch, the trainer does when it leaves one.
        control.should_evaluate = args.eval_strategy == "steps"
        control.should_save = args.save_strategy == "steps"

    def told(self, steps: int) -> str | None:
        """Return why the training has ended early, or None where it has not."""
        if self.stopped_after is None:
            return None
        return f"launch.max_hours {self._hours:g}: stopped after {self.stopped_after:,} of {steps:,} train steps"


def _of_first_rank(is_over: bool, device: Any) -> bool:
    if not torch.distributed.is_initialized():
        return is_over
    flag = torch.tensor(int(is_over), device=device)
    torch.distributed.broadcast(flag, src=0)
    return bool(flag.item())
