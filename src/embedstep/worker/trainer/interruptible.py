"""A trainer whose evaluations can be interrupted, and whose evaluator can run alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.util.distributed import distributed_evaluation

from embedstep.errors import StepInterruptedError
from embedstep.worker.trainer.rng_state import get_rng_states, set_rng_states
from embedstep.worker.trainer.stopping import StopController


class InterruptibleTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The library's trainer, interruptible between the batches of an evaluation."""

    control: Any
    _in_prediction_step = False

    def __init__(self, *, stopping: StopController, **options: Any) -> None:
        """Build the library's trainer.

        Args:
            stopping: ends an evaluation before its last batch.
            options: arguments of the library's trainer.
        """
        self.stopping = stopping
        super().__init__(**options)

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """Evaluate; when interrupted, restore the state before, because the next attempt repeats the evaluation."""
        logged, states, is_due = len(self.state.log_history), get_rng_states(), self.control.should_evaluate
        without_gain = self.stopping.without_gain
        try:
            found: dict[str, float] = super().evaluate(*arguments, **options)
            return found
        except StepInterruptedError:
            del self.state.log_history[logged:]
            set_rng_states(states)  # each loader has drawn a seed
            self.stopping.without_gain = without_gain
            self.control.should_evaluate = is_due  # the evaluation of one of several datasets resets it
            raise

    def prediction_step(self, *arguments: Any, **options: Any) -> Any:
        """Check for an interruption before each batch."""
        self.stopping.check()
        self._in_prediction_step = True
        try:
            return super().prediction_step(*arguments, **options)
        finally:
            self._in_prediction_step = False

    def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
        """Evaluate; see `_interruptible_evaluator`."""
        with self._interruptible_evaluator():
            return super().evaluation_loop(*arguments, **options)

    def run_evaluator(self, steps: int) -> None:
        """Run the evaluator alone on the current weights, on all ranks. Nothing is logged, no random number is drawn.

        Args:
            steps: train step that the evaluator gets; 0 is before the training.

        Raises:
            StepInterruptedError: on all ranks.
        """
        is_shared = not self.is_fsdp_enabled and not self.is_deepspeed_enabled
        states = get_rng_states()
        try:
            with self._interruptible_evaluator(), distributed_evaluation(self.model, enabled=is_shared) as runs_here:
                if runs_here:
                    self.evaluator(self.model, epoch=self.state.epoch or 0, steps=steps)
        finally:
            set_rng_states(states)

    @contextmanager
    def _interruptible_evaluator(self) -> Iterator[None]:
        """Check for an interruption also before each batch that an evaluator encodes."""
        hook = self.model.register_forward_pre_hook(
            lambda *_: None if self._in_prediction_step else self.stopping.check_locally()
        )
        try:
            yield
        except (RuntimeError, StepInterruptedError) as error:
            # If an evaluator fails on one rank, the library raises an error on all, with the traceback as its text.
            is_interruption = StepInterruptedError.__name__ in f"{type(error).__name__}: {error}"
            if is_interruption and not self.stopping.is_interrupted:
                self.stopping.check()
            raise
        finally:
            hook.remove()
