"""A request's schedule as arguments of a DAG. Read again and again as DAGs are parsed, so nothing is checked here."""

from typing import Any

import yaml
from airflow.sdk import CronTriggerTimetable

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def dag_schedule(request: str) -> dict[str, Any]:
    """Return `schedule`, `catchup` and `max_active_runs` of a DAG; `embedstep schedule airflow` shows and checks them.

    Args:
        request: the text of a request; one without a schedule runs when somebody starts it.
    """
    document = yaml.load(request, _LOADER)
    given = (document.get("schedule") if isinstance(document, dict) else None) or {}
    timetable = CronTriggerTimetable(given["cron"], timezone=given.get("timezone", "UTC")) if "cron" in given else None
    return {"schedule": timetable, "catchup": bool(given.get("catch_up", False)), "max_active_runs": 1}
