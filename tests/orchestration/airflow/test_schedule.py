"""The section `schedule` of a request as arguments of a DAG."""

import json
from typing import Any

import pytest

from tests.orchestration.airflow.running import Airflow

pytestmark = pytest.mark.airflow


@pytest.mark.parametrize(
    ("document", "cron", "zone", "catchup"),
    [
        ({"schedule": {"cron": "0 3 * * 1", "timezone": "Europe/Berlin", "catch_up": True}}, "0 3 * * 1",
         "Europe/Berlin", True),
        ({"schedule": {"cron": "*/30 * * * *"}}, "*/30 * * * *", "UTC", False),
        ({"model": "m"}, None, None, False),
        ([], None, None, False),
    ],
)  # fmt: skip
def test_a_dag_runs_by_the_schedule_of_its_request_one_run_at_a_time(
    airflow: Airflow, document: Any, cron: str | None, zone: str | None, catchup: bool
) -> None:
    """Without one it runs when it is triggered. `embedstep schedule airflow` reports what is wrong with a request."""
    found = airflow(
        None,
        f"""
        from embedstep.orchestration.airflow import dag_schedule
        given = dag_schedule({json.dumps(document)!r})
        when = given.pop("schedule")
        out(**given, cron=when and when.expression, zone=when and str(when.timezone))
        """,
    )
    assert found.pop("output") is not None
    assert found == {"max_active_runs": 1, "catchup": catchup, "cron": cron, "zone": zone}
