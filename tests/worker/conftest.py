"""Train in this process instead of under torchrun: the same worker, without the seconds that torch takes to import."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from embedstep import step
from embedstep.launch.plan import LaunchPlan
from embedstep.launch.process import ProcessEnd
from embedstep.request.loading import load_request
from embedstep.result import StepResult
from embedstep.step import run_step


@pytest.fixture
def train_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Any]], StepResult]:
    """Run a request's whole walk, with the one rank in this process."""
    from embedstep.worker import __main__ as worker

    def run_process(plan: LaunchPlan) -> ProcessEnd:
        return ProcessEnd(code=worker.main([plan.argv[-1]]))

    monkeypatch.setattr(step, "run_process", run_process)
    # The report takes another process and as long as the training; tests/report and whole runs look at it.
    monkeypatch.setattr(step, "written_aside", lambda output: ())
    monkeypatch.chdir(tmp_path)

    def train(document: Mapping[str, Any]) -> StepResult:
        return run_step(load_request(json.dumps(document)), tmp_path / "output")

    return train
