"""`embedstep schedule`: one command for each orchestrator."""

from collections.abc import Callable
from typing import Any

from click.testing import CliRunner

from embedstep.cli.program import main

Build = Callable[..., dict[str, Any]]


def test_airflow_takes_it_from_the_file_of_the_dag(request_file: Callable[..., str]) -> None:
    file = request_file(schedule={"cron": "0 3 * * 1", "timezone": "Europe/Berlin", "catch_up": True})
    shown = CliRunner().invoke(main, ["schedule", "airflow", file])
    assert shown.exit_code == 0, shown.output
    assert 'CronTriggerTimetable("0 3 * * 1", timezone="Europe/Berlin")' in shown.stdout
    assert "catchup          True" in shown.stdout
    assert "note: Airflow does not skip a run that is due while the previous one is still running" in shown.stdout
    waits = CliRunner().invoke(
        main, ["schedule", "airflow", request_file(schedule={"cron": "0 3 * * 1", "overlap": "wait"})]
    )
    assert "note:" not in waits.stdout


def test_every_orchestrator_is_listed() -> None:
    listed = CliRunner().invoke(main, ["schedule", "--help"])
    assert listed.exit_code == 0
    for orchestrator in ("airflow", "kubeflow", "kubernetes", "zenml"):
        assert f"\n  {orchestrator} " in listed.stdout
