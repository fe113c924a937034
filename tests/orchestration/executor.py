"""Executor inputs as Kubeflow writes them, and the command of a component's container."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from embedstep.orchestration.task import (
    Task,
    task_from_json,
)

OUTPUTS = (
    "model", "metrics", "report", "result", "scores", "decision", "train_rows", "eval_rows", "prepared", "mined",
    "outcome",
)  # fmt: skip


def executor_input(folder: Path, parameters: dict[str, Any], **artifacts: Path) -> str:
    """An executor input, with outputs in `folder`."""
    outputs: dict[str, Any] = {
        name: {"artifacts": [{"name": name, "uri": str(folder / "outputs" / name), "metadata": {}}]} for name in OUTPUTS
    }
    inputs = {name: {"artifacts": [{"name": name, "uri": str(path)}]} for name, path in artifacts.items()}
    return json.dumps(
        {
            "inputs": {"parameterValues": parameters, "artifacts": inputs},
            "outputs": {"artifacts": outputs, "outputFile": str(folder / "executor_output.json")},
        }
    )


def task(folder: Path, parameters: dict[str, Any], **artifacts: Path) -> Task:
    return task_from_json(executor_input(folder, parameters, **artifacts))


def run(text: str, name: str = "train") -> subprocess.CompletedProcess[str]:
    """What the container of the component runs."""
    command = [sys.executable, "-m", "embedstep", "task", name, "--executor-input", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
