"""The times at which a cron schedule fires, and whether a late run is superseded by the next one."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim

from embedstep.request.schedule import Schedule
from embedstep.request.schema import TrainRequest


def firings(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Yield the times at which a schedule fires, in its time zone.

    When clocks go forward, a skipped time fires at the end of the gap; when they go back, a time that occurs twice
    fires once, as in Debian's cron (CronSim).

    Args:
        schedule: the schedule.
        after: a time with its time zone; only later firings are yielded.
    """
    yield from CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.timezone)))


def superseded_by(request: TrainRequest, now: datetime) -> datetime | None:
    """Return the firing that follows the one that a run is for, if that is due already.

    When a scheduler was down, or runs waited for each other, only the last of them has to train. The firing that a run
    is for is its `data.as_of`; a day without a time is too imprecise.

    Args:
        request: the request; without a schedule, or with `catch_up`, nothing supersedes it.
        now: the current time, with its time zone.
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
    """Return the next firings as text, in the schedule's time zone (with its offset from UTC) and in UTC."""
    return [
        (f"{firing:%a} {firing.isoformat(sep=' ', timespec='minutes')}", f"{firing.astimezone(UTC):%Y-%m-%d %H:%M} UTC")
        for firing in islice(firings(schedule, now), count)
    ]
