"""When a schedule fires, and whether a run that comes late still has anything to do."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim

from embedstep.request.schedule import Schedule
from embedstep.request.schema import TrainRequest


def firings(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the times at which a schedule fires, in its time zone.

    In the night in which clocks go forward, a time that is left out fires at the end of the gap; in the one in which
    they go back, a time that comes twice fires once: as Debian's cron does (CronSim).

    Args:
        schedule: the schedule.
        after: a time with its time zone; the first firing comes after it.
    """
    yield from CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.timezone)))


def superseded_by(request: TrainRequest, now: datetime) -> datetime | None:
    """Return the next firing after the one that a run is for, where that is due by now.

    Of the runs that a scheduler starts after it was away, or that have waited for each other, one trains. What a run is
    for is its `data.as_of`; a day without a time says too little to tell.

    Args:
        request: a request; without a schedule, or with one that catches up, nothing supersedes it.
        now: this moment, with its time zone.
    """
    schedule, as_of = request.schedule, request.data.as_of
    if schedule is None or schedule.catch_up or as_of is None or not {"T", " "} & set(as_of.upper()):
        return None
    moment = datetime.fromisoformat(as_of)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(schedule.timezone))
    following = next(firings(schedule, moment))
    return following if following <= now else None


def list_firings(schedule: Schedule, now: datetime, count: int = 5) -> list[tuple[str, str]]:
    """Return the next firings in the schedule's time zone, with its distance from UTC, and in UTC."""
    return [
        (f"{firing:%a} {firing.isoformat(sep=' ', timespec='minutes')}", f"{firing.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
        for firing in islice(firings(schedule, now), count)
    ]
