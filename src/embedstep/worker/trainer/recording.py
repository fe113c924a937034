"""What a running training reports: progress on the terminal, metrics in files and for the tracker."""

import json
import math
from collections.abc import Mapping
from typing import Any, TextIO

from transformers import TrainerCallback

from embedstep.output.folder import OutputFolder
from embedstep.output.result import is_score, read_json
from embedstep.planning.plan import Plan
from embedstep.request.launch import Alarm
from embedstep.tracking.spool import Spool
from embedstep.worker.trainer.numerics import ALARM_MESSAGES
from embedstep.worker.trainer.progress import TrainingProgress

_SHOWN_METRICS = 3
_CHECKPOINT = "checkpoint"
_POSITIONS = ("epoch", "step")
"""Keys of a log that say when it was written; all others are metrics."""


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes `metrics.jsonl`, queues metrics for the tracker, and says what the progress is.

    Attributes:
        metrics: the latest finite value of each metric.
        progress: shows and writes how far the training is.
    """

    def __init__(self, output: OutputFolder, plan: Plan, spool: Spool, *, is_shown: bool = True) -> None:
        """Start to record.

        Args:
            output: the output folder.
            plan: the plan.
            spool: records for the tracker.
            is_shown: False for all ranks but the first, which show nothing.
        """
        self.metrics: dict[str, float] = {}
        self.output = output
        self.plan = plan
        self.spool = spool
        self.progress = TrainingProgress(output.progress, plan, is_shown=is_shown)
        self._not_finite: set[str] = set()
        self._file: TextIO | None = None

    @property
    def first_step(self) -> int:
        """The train step at which this attempt began."""
        return self.progress.first_step

    def announce(self) -> None:
        """Say what is about to be trained."""
        for line in read_json(self.output.start)["skipped"]:
            self.progress.show(line)
        for line in (f"training: {self.plan.summary}", *self.plan.notes):
            self.progress.show(line)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock when the first batch is about to be drawn."""
        for log in state.log_history:  # of earlier attempts
            self.metrics |= _finite_metrics(_numeric_values(log))
        if state.global_step:
            self.progress.show(f"resuming after train step {state.global_step} of {self.plan.train_steps}")
        self.progress.begin(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the step, and what is due after it."""
        self.progress.reach(state.global_step)
        self._note_due(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note what is due after the epoch."""
        self._note_due(control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note that an evaluation is over."""
        self.progress.activity = _CHECKPOINT if control.should_save else "training"

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say that a checkpoint is written."""
        self.progress.activity = "training"
        self.progress.log(
            f"{_place(state.global_step, self.plan.train_steps)}  checkpoint", train_step=state.global_step
        )

    def _note_due(self, control: Any) -> None:
        if control.should_evaluate or control.should_save:
            self.progress.activity = "evaluation" if control.should_evaluate else _CHECKPOINT

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any) -> None:
        """Record what the trainer logs. Values that are not finite are written to the file as text."""
        step = state.global_step
        numbers = _numeric_values(logs)
        self.progress.loss = numbers.get("loss", self.progress.loss)
        for name in [name for name, value in numbers.items() if not math.isfinite(value)]:
            if name not in self._not_finite:
                self._not_finite.add(name)
                self.progress.show(f"step {step}: {name} is {numbers[name]}; check the learning rate and the data")
        shown = {key: value if math.isfinite(value) else str(value) for key, value in numbers.items()}
        self._append({"train_step": step, **shown})
        metrics = {key: value for key, value in numbers.items() if key != "epoch"}
        self.spool.metrics(metrics, train_step=step, once=True)
        self.metrics |= _finite_metrics(numbers)
        if text := summary_of(step, self.plan.train_steps, numbers, self.progress.rows_per_second):
            show = self.progress.log if "loss" in numbers else self.progress.show
            show(text, train_step=step, train_steps=self.plan.train_steps, metrics=shown)

    def record_base(self, metrics: Mapping[str, float]) -> None:
        """Show the metrics of the base model and record them for the tracker.

        Args:
            metrics: metrics by their names in a log.
        """
        self.progress.show(f"base model  {_format_scores(metrics)}", train_step=0, metrics=dict(metrics))
        named = {f"base/{name.removeprefix('eval_')}": value for name, value in metrics.items()}
        self.spool.metrics(named, train_step=0, once=True)

    def alarm(self, alarm: Alarm, step: int) -> None:
        """Show an alarm and record it for the tracker."""
        self.progress.show(f"step {step}: {ALARM_MESSAGES[alarm]} ({alarm})", train_step=step, alarm=alarm)
        self.spool.metrics({f"alarm/{alarm}": 1.0}, train_step=step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """If the best model was loaded, report its metrics in place of the last ones."""
        self.progress.activity = "evaluation"
        if args.load_best_model_at_end:
            for log in (log for log in state.log_history if log["step"] == state.best_global_step):
                self.metrics |= _finite_metrics(
                    {key: value for key, value in _numeric_values(log).items() if key.startswith("eval_")}
                )

    def close(self) -> None:
        """Release the terminal and the file of metrics, also after a failure."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.progress.close()

    def _append(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            self._file = self.output.metrics.open("a", encoding="utf-8", buffering=1)
        self._file.write(json.dumps(line) + "\n")


def summary_of(step: int, steps: int, numbers: Mapping[str, float], rows_per_second: float) -> str:
    """Return one line for a log: the step, the main metrics, the speed.

    Args:
        step: train step.
        steps: train steps of the run.
        numbers: numeric values of the log.
        rows_per_second: speed since the start.
    """
    place = _place(step, steps)
    if "loss" in numbers:
        rate = numbers.get("learning_rate", 0.0)
        return f"{place}  loss {numbers['loss']:.4f}  learning rate {rate:.2e}  {rows_per_second:,.0f} rows/s"
    scores = {key: value for key, value in numbers.items() if is_score(key)}
    if scores:
        return f"{place}  evaluation  {_format_scores(scores)}"
    if "train_runtime" in numbers:
        return f"{place}  trained in {numbers['train_runtime']:.1f} s"
    return ""


def _place(step: int, steps: int) -> str:
    return f"step {step:>{len(str(steps))}}/{steps}"


def _format_scores(scores: Mapping[str, float]) -> str:
    """Return the most important scores as text."""
    shown = sorted(scores, key=_display_order)[:_SHOWN_METRICS]
    return "  ".join(f"{key.removeprefix('eval_')} {scores[key]:.4f}" for key in shown)


def _display_order(key: str) -> tuple[bool, bool, bool]:
    """Sort key of a metric: the loss first, then ndcg@10 and Spearman correlation, then accuracy."""
    return (not key.endswith("loss"), "ndcg@10" not in key and "spearman" not in key, "accuracy" not in key)


def _numeric_values(log: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in log.items() if isinstance(value, int | float)}


def _finite_metrics(numbers: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in numbers.items() if math.isfinite(value) and key not in _POSITIONS}
