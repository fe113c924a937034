"""A request's schedule as arguments of a DAG. Airflow parses a DAG again and again, so nothing is checked here."""

from typing import Any

import yaml
from airflow.sdk import CronTriggerTimetable

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def dag_schedule(request: str) -> dict[str, Any]:
    """Return `schedule`, `catchup` and `max_active_runs` of a DAG. `embedstep schedule airflow` checks and shows them.

    Args:
        request: text of a request; without a schedule the DAG runs only when it is triggered.
    """
    document = yaml.load(request, _LOADER)
    given = (document.get("schedule") if isinstance(document, dict) else None) or {}
    timetable = CronTriggerTimetable(given["cron"], timezone=given.get("timezone", "UTC")) if "cron" in given else None
    return {"schedule": timetable, "catchup": bool(given.get("catch_up", False)), "max_active_runs": 1}
