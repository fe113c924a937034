"""Runs in Weights & Biases, or in its offline folders. Only this file imports wandb."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from embedstep.tracking.spool import Status
from embedstep.tracking.tracker import RunInfo, RunTracker

_STEP = "train_step"
"""The axis of all metrics. By its own one W&B drops what comes for an earlier step, as after a resume."""


class Tracker(RunTracker):
    """Records where W&B's own variables say; without an API key in an offline folder, for `wandb sync`.

    The folder is `tracking.uri`, by default the output folder; W&B makes a folder `wandb` in it.
    """

    def open_run(self, run: RunInfo) -> str:
        """Open the run; offline, an attempt adds a folder of the same run."""
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
        self._run = wandb.init(
            project=run.experiment,
            id=run.id,
            name=run.name,
            dir=str(Path(run.uri or run.output).absolute()),
            mode=mode,
            resume="allow" if mode == "online" else None,
            config={"tags": dict(run.tags)},
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)
        return str(self._run.url if mode == "online" else Path(self._run.dir).parent)

    def log_parameters(self, values: Mapping[str, str]) -> None:
        """Keep the parameters in the run's config."""
        self._run.config.update(dict(values), allow_val_change=True)

    def log_metrics(self, values: Mapping[str, float], step: int, seconds: float) -> None:
        """Log the metrics of a step."""
        self._run.log({**values, _STEP: step, "seconds": seconds})

    def log_file(self, file: Path) -> None:
        """Copy a file into the run."""
        copy = Path(self._run.dir) / file.name  # W&B would keep a link to one that may go
        shutil.copyfile(file, copy)
        self._run.save(str(copy), base_path=self._run.dir, policy="now")

    def end_run(self, status: Status) -> None:
        """End the run, and wait until it is on disk or has arrived."""
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)
