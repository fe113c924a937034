"""Ending a training before its last step, on all ranks at the same place: for a signal, or when its time is over."""

import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from embedstep.errors import DivergedError, StepInterruptedError
from embedstep.output.attempts import HOUR
from embedstep.request.launch import Alarm
from embedstep.worker.interruption import Interruption
from embedstep.worker.trainer.numerics import TOLD

_GOES_ON, _TIME_IS_OVER, _INTERRUPTED, _FIRST_ALARM = range(4)
"""What a rank says to the others; the highest word counts."""
_ALARMS = tuple(TOLD)


class StopController(TrainerCallback):  # type: ignore[misc]
    """Looks after each train step, and between batches of an evaluation, whether any rank is to end.

    The ranks say so to each other over gloo, on the CPU: a GPU would have to come to the end of its queue for it.
    """

    def __init__(
        self,
        interruption: Interruption | None = None,
        hours: float | None = None,
        alarm: Callable[[], Alarm | None] = lambda: None,
        sign: Path | None = None,
        elapsed_seconds: float = 0.0,
        patience: float | None = None,
    ) -> None:
        """Begin to count the time.

        Args:
            interruption: the signal of this rank; None hears none.
            hours: wall time after which the training stops, or None.
            alarm: tells which numbers of this rank have gone bad, of those that end the training.
            sign: file that all ranks see, by which one tells the others where they do not look together.
            elapsed_seconds: seconds of the time that earlier starts of the attempt have taken.
            patience: seconds that a rank waits for the others; None for torch's own half an hour.
        """
        self.stopped_after: int | None = None
        self._interruption = interruption
        self._hours = hours
        self._deadline = None if hours is None else time.monotonic() + hours * HOUR - elapsed_seconds
        self._group = None
        if torch.distributed.is_initialized():
            limit = None if patience is None else timedelta(seconds=patience)
            self._group = torch.distributed.new_group(backend="gloo", timeout=limit)
        self._alarm = alarm
        self._sign = sign
        self._word = _GOES_ON

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look, and when the time is over end the training, with a checkpoint where it has such.

        An evaluation that is not due would draw random numbers, and change what a later attempt goes on with; the model
        is measured after the training.
        """
        self._look()
        if self._word != _TIME_IS_OVER or state.global_step >= state.max_steps:
            return
        self.stopped_after = state.global_step
        control.should_training_stop = True
        if args.save_strategy == "steps":  # by epochs the trainer saves when it leaves one
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take back what is due at the end of an epoch, where the training has only come to the end of its time."""
        if self.stopped_after is not None and not state.epoch.is_integer():
            control.should_evaluate = control.should_log = False

    @property
    def _signal(self) -> int | None:
        return self._interruption.number if self._interruption else None

    @property
    def is_interrupted(self) -> bool:
        """Whether any rank was interrupted when all of them looked last."""
        return self._word == _INTERRUPTED

    def check(self) -> None:
        """Look on all ranks at once.

        Raises:
            StepInterruptedError: one of them was interrupted.
            DivergedError: on one of them numbers have gone bad.
        """
        self._look()
        self.require_uninterrupted()

    def look_at_numbers(self) -> None:
        """Look on all ranks at once before a checkpoint, which an interruption that is known has asked for.

        Raises:
            StepInterruptedError: one of them was interrupted since.
            DivergedError: on one of them numbers have gone bad.
        """
        is_known = self.is_interrupted
        self._look()
        if not is_known:
            self.require_uninterrupted()

    def require_no_sign(self) -> None:
        """Raise StepInterruptedError where a rank is interrupted, between the batches that an evaluator shares out.

        The ranks have unequal numbers of them, and could not look together. What is raised on one of them the library
        hands to the first rank, which ends the evaluation on all.
        """
        if self._signal and self._sign:
            self._sign.touch()
        if self._signal or (self._sign and self._sign.exists()):
            raise StepInterruptedError(self._signal or signal.SIGTERM)

    def require_uninterrupted(self) -> None:
        """Raise StepInterruptedError where a rank was interrupted when all of them looked last."""
        if self.is_interrupted:
            raise StepInterruptedError(self._signal or signal.SIGTERM)

    def _look(self) -> None:
        is_over = self._deadline is not None and time.monotonic() > self._deadline
        word = _INTERRUPTED if self._signal else _TIME_IS_OVER if is_over else _GOES_ON
        if (alarm := self._alarm()) is not None:
            word = _FIRST_ALARM + _ALARMS.index(alarm)
        self._word = max(self._word, self._highest(word))
        if self._word >= _FIRST_ALARM:
            # What is saved now would be bad, too.
            alarm = _ALARMS[self._word - _FIRST_ALARM]
            raise DivergedError(f"{TOLD[alarm]} (launch.stop_on: {alarm}); the checkpoints before that are kept")

    def _highest(self, word: int) -> int:
        if self._group is None:
            return word
        told = torch.tensor(word)
        torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX, group=self._group)
        return int(told)

    def told(self, steps: int) -> str | None:
        """Return why the training has ended early, or None where it has not."""
        if self.stopped_after is None:
            return None
        return f"launch.max_hours {self._hours:g}: stopped after {self.stopped_after:,} of {steps:,} train steps"
