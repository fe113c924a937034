"""`embedstep schedule kubeflow`: what Kubeflow is asked for, and what a person sees of it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.orchestration.kubeflow_api import Kubeflow, kubeflow
from tests.places import ROOT

PIPELINE = ROOT / "pipelines" / "kubeflow_retrain" / "pipeline.yaml"
Build = Callable[..., dict[str, Any]]


@pytest.fixture
def server() -> Iterator[Kubeflow]:
    with kubeflow() as running:
        yield running


@pytest.fixture
def schedule(server: Kubeflow, request_of: Build, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(
        *options: str, pipeline: Path = PIPELINE, host: str = "", section: Any = None
    ) -> subprocess.CompletedProcess[str]:
        request = tmp_path / "request.yaml"
        request.write_text(yaml.safe_dump(request_of(**({"schedule": section} if section else {}))))
        command = [sys.executable, "-m", "embedstep", "schedule", "kubeflow", str(request), "--pipeline", str(pipeline)]
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "KF_PIPELINES_ENDPOINT": host or server.address, "HOME": str(tmp_path)},
        )  # fmt: skip

    return run


MONDAYS = {"cron": "0 3 * * 1"}


def test_a_recurring_run_is_made_once_and_replaced_by_another(schedule: Any, server: Kubeflow) -> None:
    made = schedule(section=MONDAYS)
    assert made.returncode == 0, made.stderr
    (run,) = server.recurring_runs
    assert run["display_name"] == "embedstep-retrain"
    assert run["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (run["no_catchup"], run["max_concurrency"], run["mode"]) == (True, 1, "ENABLE")
    assert run["runtime_config"] == {"parameters": {"as_of": "[[ScheduledTime.2006-01-02T15:04:05Z]]"}}
    specification = next(yaml.safe_load_all(PIPELINE.read_text()))
    assert run["pipeline_spec"]["deploymentSpec"] == specification["deploymentSpec"]
    assert "enableCache" not in json.dumps(run["pipeline_spec"])  # other rows at the same address are no same input
    assert f"embedstep-retrain created {run['recurring_run_id']}" in made.stdout
    assert "note: Kubeflow does not skip a run that is due while the previous one is still running" in made.stdout

    again = schedule(section=MONDAYS)
    assert f"embedstep-retrain unchanged {run['recurring_run_id']}" in again.stdout
    assert server.recurring_runs == [run]

    other = schedule("--cron", "30 4 * * *", section=MONDAYS)
    (replaced,) = server.recurring_runs
    assert f"embedstep-retrain replaced {replaced['recurring_run_id']}" in other.stdout
    assert replaced["trigger"] == {"cron_schedule": {"cron": "0 30 4 * * *"}}
    # The new one is there before the former goes.
    assert [asked.partition("/")[0] for asked in server.asked][-2:] == ["POST recurringruns", "DELETE recurringruns"]


def test_a_dry_run_asks_nobody(schedule: Any, server: Kubeflow) -> None:
    shown = schedule("--dry-run", "--cron", "* * * * *", "--name", "docs")
    assert shown.returncode == 0, shown.stderr
    assert server.asked == []
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["cron_expression", "0", "*", "*", "*", "*", "*"] in lines
    assert ["recurring", "run", "docs", "would", "be", "created", "or", "replaced"] in lines
    assert sum(line[-1:] == ["UTC"] for line in lines) == 6


@pytest.mark.parametrize(
    ("options", "section", "code", "message"),
    [
        ((), None, 2, "schedule: is missing; write schedule: {cron: '0 3 * * 1'}, or give --cron"),
        (("--cron", "0 0 31 2 *"), None, 2, "schedule.cron: '0 0 31 2 *' never fires"),
        (
            ("--timezone", "Europe/Berlin"), MONDAYS, 2,
            "schedule.timezone: is Europe/Berlin, but recurring runs of Kubeflow have no time zone",
        ),
        (("--token-from-env", "NOT_SET"), MONDAYS, 2, "--token-from-env: NOT_SET is not set"),
    ],
)  # fmt: skip
def test_what_cannot_be_scheduled_is_reported(
    schedule: Any, server: Kubeflow, options: tuple[str, ...], section: Any, code: int, message: str
) -> None:
    refused = schedule(*options, section=section)
    assert (refused.returncode, server.recurring_runs) == (code, [])
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_file_that_is_no_pipeline_is_reported(schedule: Any, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("a: [1, 2]\n")
    refused = schedule(section=MONDAYS, pipeline=tmp_path / "other.yaml")
    assert refused.returncode == 2
    assert "--pipeline: is not a pipeline compiled by kfp" in refused.stderr


def test_a_recurring_run_of_somebody_else_is_left_alone(schedule: Any, server: Kubeflow) -> None:
    assert schedule(section=MONDAYS).returncode == 0
    (run,) = server.recurring_runs
    run["description"] = "made by hand"
    refused = schedule("--cron", "0 4 * * *", section=MONDAYS)
    assert refused.returncode == 2
    assert "--name: embedstep-retrain is a recurring run that embedstep did not create" in refused.stderr
    assert server.recurring_runs == [run]


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, 2, "schedule: Kubeflow refuses it: no such experiment"),
        (403, 3, "Kubeflow denies access: no such experiment"),
        (500, 3, "Kubeflow answers 500: no such experiment"),
    ],
)
def test_what_kubeflow_answers_is_reported(
    schedule: Any, server: Kubeflow, status: int, code: int, message: str
) -> None:
    assert schedule(section=MONDAYS).returncode == 0
    (run,) = server.recurring_runs
    server.refuses = (status, "no such experiment")
    failed = schedule("--cron", "0 4 * * *", section=MONDAYS)
    assert failed.returncode == code
    assert message in failed.stderr
    assert server.recurring_runs == [run]  # the former schedule stays


def test_a_server_that_is_away_is_reported(schedule: Any) -> None:
    failed = schedule(section=MONDAYS, host="http://127.0.0.1:9")
    assert failed.returncode == 3
    assert "Kubeflow does not answer: " in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_token_is_sent_and_never_shown(schedule: Any, server: Kubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_TOKEN", planted := "kfp-PlantedToken0123456789")
    made = schedule("--token-from-env", "KFP_TOKEN", section=MONDAYS)
    assert made.returncode == 0, made.stderr
    assert server.tokens == {f"Bearer {planted}"}
    assert planted not in made.stdout + made.stderr + json.dumps(server.things)
