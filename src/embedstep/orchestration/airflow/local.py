"""An operator that runs a component in a subprocess, with the Python interpreter of another environment."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from tempfile import NamedTemporaryFile
from typing import Any

from embedstep.launch.termination import VARIABLE
from embedstep.orchestration.airflow.component import ComponentOperator
from embedstep.orchestration.airflow.outcome import conclude

_GRACE = 60.0
"""Seconds between SIGTERM and SIGKILL: a training saves a checkpoint first."""


class EmbedstepOperator(ComponentOperator):
    """Runs a component in a subprocess.

    It returns the output parameters, such as `verdict` and `run_id`. The artifacts are files in `folder`, for the
    `inputs` of later tasks.
    """

    template_fields = (*ComponentOperator.template_fields, "environment")

    def __init__(
        self, *, python: str = sys.executable, environment: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        """Describe the task.

        Args:
            python: interpreter of an environment with `embedstep[train]`.
            environment: variables in addition to those of the Airflow worker.
            kwargs: arguments of ComponentOperator and of every Airflow operator.
        """
        super().__init__(**kwargs)
        self.python = python
        self.environment = dict(environment or {})
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the component, and write its output to Airflow's log.

        Raises:
            AirflowSkipException: later tasks have nothing to do.
            AirflowFailException: the request was refused, or memory ran out.
            AirflowException: it failed, and a retry may succeed.
        """
        from embedstep.orchestration.task import executor_input

        command, task = self.make_task_of_component()
        with NamedTemporaryFile(prefix="embedstep-") as termination:
            self._process = subprocess.Popen(
                [self.python, "-m", "embedstep", "task", command, "--executor-input", executor_input(task)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, **self.environment, VARIABLE: termination.name},
            )  # fmt: skip
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self.log.info(line.rstrip("\n"))
            code = self._process.wait()
            message = termination.read().decode(errors="replace")
        return conclude(code, json.loads(task.output_file.read_text(encoding="utf-8")) if code == 0 else {}, message)

    def on_kill(self) -> None:
        """Stop the component, and kill it if it does not exit within a minute."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
