"""Runs as event files for TensorBoard. Only this file imports tensorboardX, which needs no torch."""

import os
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from embedstep.tracking.spool import Status
from embedstep.tracking.tracker import RunInfo, RunTracker

_FOLDER = "tensorboard"
_LARGEST_TEXT = 65_536
"""Bytes up to which a file is shown as text; larger ones are in the output folder."""


class Tracker(RunTracker):
    """Writes `<tracking.uri>/<experiment>/<run>`, by default below `tensorboard` in the output folder.

    TensorBoard takes no `@` in a name: `ndcg@10` is shown as such, and filed as `ndcg_10`.
    """

    def open_run(self, run: RunInfo) -> str:
        """Begin another event file in the run's folder; TensorBoard shows all of them as one run."""
        name = f"{run.name}-{run.id}" if run.name else run.id
        folder = Path(run.uri or run.output / _FOLDER) / run.experiment.replace(os.sep, "_") / name.replace(os.sep, "_")
        self._writer = SummaryWriter(str(folder.absolute()))
        self._table("tags", run.tags)
        return str(folder.absolute())

    def log_parameters(self, values: Mapping[str, str]) -> None:
        """Show the parameters as one table."""
        self._table("parameters", values)

    def log_metrics(self, values: Mapping[str, float], step: int, seconds: float) -> None:
        """Write a scalar for each metric."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step, seconds, display_name=name)
        self._writer.flush()

    def log_file(self, file: Path) -> None:
        """Show a small JSON file as text."""
        if file.suffix in (".json", ".jsonl") and file.stat().st_size <= _LARGEST_TEXT:
            self._writer.add_text(file.stem, f"```\n{file.read_text(encoding='utf-8')}\n```")

    def end_run(self, status: Status) -> None:
        """Write how the run ended, and everything that waits."""
        self._writer.add_text("status", status)
        self._writer.close()

    def _table(self, title: str, values: Mapping[str, str]) -> None:
        lines = [f"| `{name}` | {text} |".replace("\n", " ") for name, text in values.items()]
        self._writer.add_text(title, "\n".join(["| name | value |", "|---|---|", *lines]))
        self._writer.flush()
