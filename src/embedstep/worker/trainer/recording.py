"""What a running training reports: progress on the terminal, metrics in files and for the tracker."""

import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from embedstep.output.folder import OutputFolder
from embedstep.output.result import is_score, read_json, write_json
from embedstep.planning.plan import Plan
from embedstep.request.launch import Alarm
from embedstep.runtime.text import say
from embedstep.tracking.spool import Spool
from embedstep.worker.trainer.numerics import ALARM_MESSAGES

PROGRESS_FORMAT = "embedstep.progress/1"
_SHOWN_METRICS = 3
_PROGRESS_SECONDS = 1.0
"""Time between two writes of `progress.json`, each of which takes milliseconds on some file systems."""
_POSITIONS = ("epoch", "step")
"""Keys of a log that say when it was written; all others are metrics."""


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes `metrics.jsonl` and `progress.json`, queues metrics for the tracker, and shows the progress."""

    def __init__(self, output: OutputFolder, plan: Plan, spool: Spool) -> None:
        self.metrics: dict[str, float] = {}
        self.first_step = 0
        self.output = output
        self.plan = plan
        self.spool = spool
        self._bar = _make_bar(plan.train_steps)
        self._loss: float | None = None
        self._not_finite: set[str] = set()
        self._started = time.monotonic()
        self._written = 0.0
        self._step: int | None = None
        self._file: TextIO | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock when the first batch is about to be drawn."""
        self.first_step = state.global_step
        for log in state.log_history:  # of earlier attempts
            self.metrics |= _finite_metrics(_numeric_values(log))
        self._started = time.monotonic()
        self._bar.start()
        for line in read_json(self.output.start)["skipped"]:
            self._show(line)
        if self.first_step:
            self._show(f"resuming after train step {self.first_step} of {self.plan.train_steps}")
        for line in (f"training: {self.plan.summary}", *self.plan.notes):
            self._show(line)
        self._write_progress(self.first_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar, and write the progress from time to time."""
        self._write_progress(state.global_step)
        if not self._bar.disable:
            loss = "" if self._loss is None else f"loss {self._loss:.4f}"
            speed = f"{self._rows_per_second(state.global_step):,.0f} rows/s"
            self._bar.update(self._bar.task_ids[0], completed=state.global_step, loss=loss, speed=speed)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any], **kwargs: Any) -> None:
        """Record what the trainer logs. Values that are not finite are written to the file as text."""
        step = state.global_step
        numbers = _numeric_values(logs)
        self._loss = numbers.get("loss", self._loss)
        for name in [name for name, value in numbers.items() if not math.isfinite(value)]:
            if name not in self._not_finite:
                self._not_finite.add(name)
                self._show(f"step {step}: {name} is {numbers[name]}; check the learning rate and the data")
        shown = {key: value if math.isfinite(value) else str(value) for key, value in numbers.items()}
        self._append({"train_step": step, **shown})
        metrics = {key: value for key, value in numbers.items() if key != "epoch"}
        self.spool.metrics(metrics, train_step=step, once=True)
        self.metrics |= _finite_metrics(numbers)
        self._write_progress(step)
        if text := summary_of(step, self.plan.train_steps, numbers, self._rows_per_second(step)):
            self._show(text)

    def alarm(self, alarm: Alarm, step: int) -> None:
        """Show an alarm and record it for the tracker."""
        self._show(f"step {step}: {ALARM_MESSAGES[alarm]} ({alarm})")
        self.spool.metrics({f"alarm/{alarm}": 1.0}, train_step=step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the display; if the best model was loaded, report its metrics in place of the last ones."""
        self.close()
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
        if self._step is not None:
            self._write_progress(self._step, is_last=True)
        if not self._bar.disable:  # rich 13 would print an empty line
            self._bar.stop()

    def _show(self, text: str) -> None:
        """Show one line, above the bar if there is one."""
        if self._bar.disable:
            say(text)
        else:
            # A name in brackets is no markup.
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _rows_per_second(self, step: int) -> float:
        made = step - self.first_step
        return made * self.plan.global_batch_size / max(time.monotonic() - self._started, 1e-9)

    def _append(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            self._file = self.output.metrics.open("a", encoding="utf-8", buffering=1)
        self._file.write(json.dumps(line) + "\n")

    def _write_progress(self, step: int, *, is_last: bool = False) -> None:
        """Write how far the training is, at most once a second but for the last time."""
        now, self._step = time.monotonic(), step
        if now - self._written < _PROGRESS_SECONDS and not is_last:
            return
        self._written = now
        seconds = now - self._started
        made = step - self.first_step
        left = (self.plan.train_steps - step) * seconds / made if made else None
        write_json(
            self.output.progress,
            {
                "format": PROGRESS_FORMAT,
                "train_step": step,
                "train_steps": self.plan.train_steps,
                "seconds": round(seconds, 3),
                "seconds_left": None if left is None else round(left, 3),
                "rows_per_second": round(self._rows_per_second(step), 1),
            },
        )


def summary_of(step: int, steps: int, numbers: Mapping[str, float], rows_per_second: float) -> str:
    """Return one line for a log: the step, the main metrics, the speed.

    Args:
        step: train step.
        steps: train steps of the run.
        numbers: numeric values of the log.
        rows_per_second: speed since the start.
    """
    place = f"step {step:>{len(str(steps))}}/{steps}"
    if "loss" in numbers:
        rate = numbers.get("learning_rate", 0.0)
        return f"{place}  loss {numbers['loss']:.4f}  learning rate {rate:.2e}  {rows_per_second:,.0f} rows/s"
    scores = {key: value for key, value in numbers.items() if is_score(key)}
    if scores:
        shown = sorted(scores, key=_display_order)[:_SHOWN_METRICS]
        return f"{place}  evaluation  " + "  ".join(f"{key.removeprefix('eval_')} {scores[key]:.4f}" for key in shown)
    if "train_runtime" in numbers:
        return f"{place}  trained in {numbers['train_runtime']:.1f} s"
    return ""


def _display_order(key: str) -> tuple[bool, bool, bool]:
    """Sort key of a metric: the loss first, then ndcg@10 and Spearman correlation, then accuracy."""
    return (not key.endswith("loss"), "ndcg@10" not in key and "spearman" not in key, "accuracy" not in key)


def _make_bar(steps: int) -> Progress:
    """Return a progress bar. It is disabled if the output is not a terminal but a file, a pod's log or a pipe."""
    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    bar.add_task("training", total=steps, loss="", speed="")
    return bar


def _numeric_values(log: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in log.items() if isinstance(value, int | float)}


def _finite_metrics(numbers: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in numbers.items() if math.isfinite(value) and key not in _POSITIONS}
