"""How far a training is: lines or a bar on the terminal, and `progress.json`, also while one step takes long."""

import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from embedstep.output.result import write_json
from embedstep.planning.plan import Plan
from embedstep.runtime.log import log_format, repeat, say
from embedstep.runtime.text import format_bytes, format_seconds

PROGRESS_FORMAT = "embedstep.progress/1"
_TICK = 1.0
_FILE_SECONDS = 1.0
"""Time between two writes of `progress.json`, each of which takes milliseconds on some file systems."""
_SILENCE_SECONDS = 25.0
"""Silence after which a line says where the training is; with the tick, a line comes at least each 30 s."""
_FIRST_LINES = 20
_LINE_SECONDS = 5.0
"""Logs after the first few are shown at most once in this time: a training of 20,000 steps may log each of them."""
_KILOBYTE = 1024


class TrainingProgress:
    """Shows the progress of a training, and writes it to a file.

    Attributes:
        first_step: train step at which this attempt began.
        loss: the last loss that is known.
        read_loss: returns the mean loss of the train steps since it was last called; None if there were none.
    """

    def __init__(self, file: Path, plan: Plan, *, is_shown: bool = True) -> None:
        """Start to show and write the progress.

        Args:
            file: file for it.
            plan: the plan.
            is_shown: False for all ranks but the first, which show and write nothing.
        """
        self.first_step = 0
        self.read_loss: Callable[[], float | None] = lambda: None
        self._is_shown = is_shown
        self._file = file
        self._plan = plan
        self._is_begun = False
        self._step = 0
        self.loss: float | None = None
        self._loss_at = self._started = self._activity_since = self._said_at = time.monotonic()
        self._written_at = self._logged_at = 0.0
        self._logs = 0
        self._activity = "start"
        self._lock = threading.RLock()
        self._bar = _make_bar(plan.train_steps)
        self._thread = ExitStack()
        if is_shown:
            self._thread.enter_context(repeat(self._tick, _TICK))

    @property
    def activity(self) -> str:
        """What the process does now, in a word or a few, such as `evaluation`."""
        return self._activity

    @activity.setter
    def activity(self, name: str) -> None:
        if name != self._activity:
            self._activity, self._activity_since = name, time.monotonic()

    def begin(self, step: int) -> None:
        """Start the clock: the first batch is about to be drawn.

        Args:
            step: train step at which this attempt begins.
        """
        self.first_step = step
        self._is_begun = True
        self._started = self._loss_at = time.monotonic()
        self._bar.start()
        self.reach(step)

    def reach(self, step: int) -> None:
        """Note that a train step is done; move the bar, and write the file from time to time."""
        self._step, self.activity = step, "training"
        now = time.monotonic()
        if now - self._loss_at >= _LINE_SECONDS:
            self._loss_at, read = now, self.read_loss()
            self.loss = self.loss if read is None else read
        self._write()
        if not self._bar.disable:
            loss = "" if self.loss is None else f"loss {self.loss:.4f}"
            speed = f"{self.rows_per_second:,.0f} rows/s"
            self._bar.update(self._bar.task_ids[0], completed=step, loss=loss, speed=speed)

    def log(self, text: str, **values: Any) -> None:
        """Show the line of a log; of many, only some."""
        now = time.monotonic()
        if self._logs < _FIRST_LINES or now - self._logged_at >= _LINE_SECONDS:
            self._logs, self._logged_at = self._logs + 1, now
            self.show(text, **values)

    def show(self, text: str, **values: Any) -> None:
        """Show one line, above the bar if there is one.

        Args:
            text: the line.
            values: what a program may want to read without the text.
        """
        if not self._is_shown:
            return
        with self._lock:
            self._said_at = time.monotonic()
            if self._bar.disable:
                say(text, **values)
            else:
                # A name in brackets is no markup.
                self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Release the terminal, and write the file for the last time, also after a failure."""
        self._thread.close()
        if self._is_begun:
            self._write(is_last=True)
        if not self._bar.disable:  # rich 13 would print an empty line
            self._bar.stop()

    @property
    def rows_per_second(self) -> float:
        """Speed since the attempt began."""
        made = self._step - self.first_step
        return made * self._plan.global_batch_size / max(time.monotonic() - self._started, 1e-9)

    @property
    def _seconds_left(self) -> float | None:
        made = self._step - self.first_step
        left = self._plan.train_steps - self._step
        return left * (time.monotonic() - self._started) / made if made else None

    def _tick(self) -> None:
        """Write the file while a step takes long, and end a long silence."""
        if self._is_begun:
            self._write()
        if self._bar.disable and time.monotonic() - self._said_at >= _SILENCE_SECONDS:
            self.show(self._status(), train_step=self._step, train_steps=self._plan.train_steps, activity=self.activity)

    def _status(self) -> str:
        """Return where the training is, in a line."""
        steps, memory = self._plan.train_steps, f"{format_bytes(memory_bytes())} memory"
        since = format_seconds(time.monotonic() - self._activity_since)
        if not self._is_begun:
            return f"{self.activity}, for {since}  {memory}"
        place = f"step {self._step:>{len(str(steps))}}/{steps}"
        if self.activity != "training":
            return f"{place}  {self.activity}, for {since}  {memory}"
        loss = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        left = [] if self._seconds_left is None else [f"about {format_seconds(self._seconds_left)} left"]
        return "  ".join([place, *loss, f"{self.rows_per_second:,.3g} rows/s", *left, memory])

    def _write(self, *, is_last: bool = False) -> None:
        """Write how far the training is, at most once a second but for the last time."""
        with self._lock:
            now = time.monotonic()
            if now - self._written_at < _FILE_SECONDS and not is_last:
                return
            self._written_at = now
            left = self._seconds_left
            content = {
                "format": PROGRESS_FORMAT,
                "train_step": self._step,
                "train_steps": self._plan.train_steps,
                "activity": self.activity,
                "loss": self.loss,
                "seconds": round(now - self._started, 3),
                "seconds_left": None if left is None else round(left, 3),
                "rows_per_second": round(self.rows_per_second, 1),
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write_json(self._file, content)


def memory_bytes() -> int:
    """Return the largest memory of this process so far: of its GPU if it has one, else of the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * _KILOBYTE


def _make_bar(steps: int) -> Progress:
    """Return a progress bar. It is disabled if the output is no terminal but a file, a pod's log or a pipe."""
    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty() or log_format(os.environ) != "text",
    )
    bar.add_task("training", total=steps, loss="", speed="")
    return bar
