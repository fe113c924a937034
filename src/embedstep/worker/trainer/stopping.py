"""Ending a training before its last step, on all ranks at the same place: on a signal, an alarm or a time limit."""

import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from embedstep.errors import DivergedError, StepInterruptedError
from embedstep.output.attempts import HOUR
from embedstep.output.result import EARLY_STOPPING
from embedstep.request.launch import Alarm
from embedstep.runtime.process import ReceivedSignal
from embedstep.runtime.text import count
from embedstep.worker.trainer.numerics import ALARM_MESSAGES

_RUNNING, _TIME_IS_UP, _INTERRUPTED, _FIRST_ALARM = range(4)
"""Status of a rank. The ranks agree on the highest; alarms are numbered from `_FIRST_ALARM`."""
_ALARMS = tuple(ALARM_MESSAGES)


class EarlyStopping(EarlyStoppingCallback):  # type: ignore[misc]
    """The library's callback, which counts evaluations of the training only.

    Attributes:
        stopped_after: train step after which it has ended the training; None if it has not.
    """

    def __init__(self, patience: int, threshold: float) -> None:
        super().__init__(patience, threshold)
        self.stopped_after: int | None = None
        self._is_training = False

    @property
    def is_over(self) -> bool:
        """Whether the patience is used up."""
        return bool(self.early_stopping_patience_counter >= self.early_stopping_patience)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Count from now on."""
        super().on_train_begin(args, state, control, **kwargs)
        self._is_training = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the evaluation of the final model uncounted."""
        self._is_training = False

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        """Count, unless these are the metrics of another of several datasets."""
        name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        if self._is_training and name in metrics:
            super().on_evaluate(args, state, control, metrics, **kwargs)
            self.end(state, control)

    def end(self, state: Any, control: Any) -> None:
        """End the training if the patience is used up before its last step."""
        if self.is_over:
            control.should_training_stop = True
            self.stopped_after = state.global_step if state.global_step < state.max_steps else None


class StopController(TrainerCallback):  # type: ignore[misc]
    """Checks after each train step, and between batches of an evaluation, whether any rank has to end.

    The ranks exchange their status over gloo on the CPU: over NCCL, each GPU would have to finish its queue first.
    """

    def __init__(
        self,
        received: ReceivedSignal | None = None,
        max_hours: float | None = None,
        alarm: Callable[[], Alarm | None] = lambda: None,
        marker: Path | None = None,
        elapsed_seconds: float = 0.0,
        timeout_seconds: float | None = None,
    ) -> None:
        """Start the clock.

        Args:
            received: the signal that this rank has received; None if it handles none.
            max_hours: wall time after which the training stops, or None.
            alarm: returns the alarm of this rank that ends the training, if there is one.
            marker: file on a disk that all ranks share; its existence interrupts them where they cannot exchange.
            elapsed_seconds: time that earlier starts of the attempt have used.
            timeout_seconds: how long a rank waits for the others; None for torch's 30 minutes.
        """
        self.stopped_after: int | None = None
        self.early: EarlyStopping | None = None
        self._received = received or ReceivedSignal()
        self._max_hours = max_hours
        self._deadline = None if max_hours is None else time.monotonic() + max_hours * HOUR - elapsed_seconds
        self._group = None
        if torch.distributed.is_initialized():
            timeout = None if timeout_seconds is None else timedelta(seconds=timeout_seconds)
            self._group = torch.distributed.new_group(backend="gloo", timeout=timeout)
        self._alarm = alarm
        self._marker = marker
        self._status = _RUNNING

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Exchange the status; when the time is up, end the training, with a checkpoint if it saves by steps.

        No evaluation is added: it would draw random numbers that a later attempt does not draw. The final model is
        evaluated after the training.
        """
        self._exchange()
        if self._status != _TIME_IS_UP or state.global_step >= state.max_steps:
            return
        self.stopped_after = state.global_step
        control.should_training_stop = True
        if args.save_strategy == "steps":  # with "epoch", leaving the epoch saves
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cancel what is due at the end of an epoch if only the time limit ended it."""
        if self.stopped_after is not None and not state.epoch.is_integer():
            control.should_evaluate = control.should_log = False

    @property
    def without_gain(self) -> int:
        """Evaluations in a row without a gain; 0 without early stopping."""
        return self.early.early_stopping_patience_counter if self.early else 0

    @without_gain.setter
    def without_gain(self, evaluations: int) -> None:
        if self.early:
            self.early.early_stopping_patience_counter = evaluations

    def end_early(self, state: Any, control: Any) -> None:
        """End a resumed training whose patience was used up at its checkpoint."""
        if self.early:
            self.early.end(state, control)

    @property
    def is_interrupted(self) -> bool:
        """Whether any rank was interrupted at the last exchange."""
        return self._status == _INTERRUPTED

    def check(self) -> None:
        """Exchange the status; all ranks call this at the same place.

        Raises:
            StepInterruptedError: one of them was interrupted.
            DivergedError: one of them has an alarm that ends the training.
        """
        self._exchange()
        self.require_uninterrupted()

    def check_before_save(self) -> None:
        """Exchange the status before a checkpoint, also one that a known interruption has caused.

        Raises:
            StepInterruptedError: a rank was interrupted since the last exchange.
            DivergedError: one of them has an alarm that ends the training.
        """
        is_known = self.is_interrupted
        self._exchange()
        if not is_known:
            self.require_uninterrupted()

    def check_locally(self) -> None:
        """Raise StepInterruptedError if this rank or, by the marker, another one is interrupted.

        For evaluators that distribute their batches: ranks have unequal numbers of them and cannot exchange. The
        library passes an exception of one rank to the first, which ends the evaluation on all.
        """
        if self._received.number and self._marker:
            self._marker.touch()
        if self._received.number or (self._marker and self._marker.exists()):
            raise StepInterruptedError(self._received.number or signal.SIGTERM)

    def require_uninterrupted(self) -> None:
        """Raise StepInterruptedError if a rank was interrupted at the last exchange."""
        if self.is_interrupted:
            raise StepInterruptedError(self._received.number or signal.SIGTERM)

    def _exchange(self) -> None:
        is_over = self._deadline is not None and time.monotonic() > self._deadline
        status = _INTERRUPTED if self._received.number else _TIME_IS_UP if is_over else _RUNNING
        if (alarm := self._alarm()) is not None:
            status = _FIRST_ALARM + _ALARMS.index(alarm)
        self._status = max(self._status, self._highest(status))
        if self._status >= _FIRST_ALARM:
            # A checkpoint saved now would hold the diverged weights.
            alarm = _ALARMS[self._status - _FIRST_ALARM]
            raise DivergedError(f"{ALARM_MESSAGES[alarm]} (launch.stop_on: {alarm}); earlier checkpoints are kept")

    def _highest(self, status: int) -> int:
        """Return the highest status of all ranks."""
        if self._group is None:
            return status
        shared = torch.tensor(status)
        torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX, group=self._group)
        return int(shared)

    def stop_reason(self, steps: int) -> str | None:
        """Return why the training has ended before its last step of `steps`, or None if it has not."""
        if self.early is not None and self.early.stopped_after is not None:
            patience = self.early.early_stopping_patience
            counted = f"{count(patience, 'evaluation')} without a gain"
            return f"{EARLY_STOPPING}: {counted}, after {self.early.stopped_after:,} of {steps:,} train steps"
        if self.stopped_after is None:
            return None
        return f"launch.max_hours {self._max_hours:g}: stopped after {self.stopped_after:,} of {steps:,} train steps"
