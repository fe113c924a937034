"""A schedule in the active stack of ZenML."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.places import ROOT


@pytest.fixture
def request_file(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., str]:
    def write(**schedule: Any) -> str:
        (tmp_path / "request.yaml").write_text(
            yaml.safe_dump(request_of(**({"schedule": schedule} if schedule else {})))
        )
        return str(tmp_path / "request.yaml")

    return write


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("schedule", "options", "code", "message"),
    [
        ({"cron": "0 3 * * 1"}, ("--dry-run",), 0, "retraining would be created or replaced"),
        ({"cron": "0 3 * * 1"}, (), 2, "schedule: the orchestrator 'default' of the stack 'default' cannot schedule"),
        (
            {"cron": "0 3 * * 1", "timezone": "Europe/Berlin"}, ("--dry-run",), 2,
            "schedule.timezone: is Europe/Berlin, but schedules of ZenML have no time zone",
        ),
        ({}, (), 2, "schedule: is missing"),
    ],
)  # fmt: skip
def test_zenml_schedules_where_its_orchestrator_does(
    request_file: Callable[..., str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    schedule: Any,
    options: Any,
    code: int,
    message: str,
) -> None:
    home = tmp_path_factory.getbasetemp() / "zenml-of-schedules"
    ended = subprocess.run(
        [
            sys.executable, "-m", "embedstep", "schedule", "zenml", request_file(**schedule),
            "--pipeline", "pipelines.zenml_retrain.pipeline:retraining", *options,
        ],
        capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path,
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "ZENML_CONFIG_PATH": str(home),
            "ZENML_ANALYTICS_OPT_IN": "false",
            "ZENML_LOGGING_VERBOSITY": "WARN", "AUTO_OPEN_DASHBOARD": "false",
        },
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    assert message in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
