"""A component in a process of its own, by an interpreter that has what it needs."""

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
"""Seconds for a component that was told to end: a training saves where it is."""


class EmbedstepOperator(ComponentOperator):
    """Runs a component in a process of its own.

    What it returns are its small outputs, such as `verdict` and `run_id`. Its artifacts lie in `folder` by their names,
    for the `inputs` of the tasks that follow.
    """

    template_fields = (*ComponentOperator.template_fields, "environment")

    def __init__(
        self, *, python: str = sys.executable, environment: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        """Describe the task.

        Args:
            python: interpreter of an environment with `embedstep[train]`.
            environment: variables beside those of the worker.
            kwargs: what ComponentOperator and every operator of Airflow take.
        """
        super().__init__(**kwargs)
        self.python = python
        self.environment = dict(environment or {})
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the component to its end, with its log in Airflow's.

        Raises:
            AirflowSkipException: there is nothing for the tasks that follow.
            AirflowFailException: it was refused, or had too little memory.
            AirflowException: it failed in a way that another try may mend.
        """
        from embedstep.orchestration.task import executor_input

        verb, task = self.task_of_component()
        with NamedTemporaryFile(prefix="embedstep-") as words:
            self._process = subprocess.Popen(
                [self.python, "-m", "embedstep", "task", verb, "--executor-input", executor_input(task)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, **self.environment, VARIABLE: words.name},
            )  # fmt: skip
            assert self._process.stdout is not None
            for line in self._process.stdout:
                self.log.info(line.rstrip("\n"))
            code = self._process.wait()
            said = words.read().decode(errors="replace")
        return conclude(code, json.loads(task.output_file.read_text(encoding="utf-8")) if code == 0 else {}, said)

    def on_kill(self) -> None:
        """Have the component end, and wait a minute for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
