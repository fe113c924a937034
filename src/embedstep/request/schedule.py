"""The section `schedule`: the times of retraining, in a form that every orchestrator understands."""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator

from embedstep.request.scalars import Boolean, Text
from embedstep.request.section import Section, described

_FIELDS = 5
_COMMON = re.compile(r"[0-9*,/\s-]+")
"""The cron syntax that every orchestrator supports; `L`, `#`, `?` and names are extensions."""


def _cron(text: str) -> str:
    """Require five fields, syntax that every orchestrator supports, and a time that exists."""
    fields = text.split()
    if len(fields) != _FIELDS:
        needed = "needs five fields: minute, hour, day of the month, month, day of the week, such as `0 3 * * 1`"
        raise ValueError(f"{needed}; {text!r} was given")
    if not _COMMON.fullmatch(text) or "7" in re.findall(r"[0-9]+", fields[-1]):
        needed = "needs digits and `* , - /` only, with 0 for Sunday, because some orchestrators support no more"
        raise ValueError(f"{needed}; {text!r} was given")
    try:
        next(CronSim(text, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{text!r} never fires: {str(error).lower() or 'there is no such day'}") from None
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"{text!r} is not a time zone; write one such as UTC or Europe/Berlin") from None
    return text


Cron = Annotated[Text, AfterValidator(_cron)]
TimeZone = Annotated[Text, AfterValidator(_zone)]


class Schedule(Section):
    """The times of retraining."""

    cron: Cron = described(
        ...,
        "Cron expression with five fields, such as `0 3 * * 1`: minute, hour, day of the month, month, day of the "
        "week.",
    )
    timezone: TimeZone = described("UTC", "Time zone of the cron expression, such as `Europe/Berlin`.")
    catch_up: Boolean = described(
        False,
        "After an outage of the scheduler, train once for each missed time. When false, only for the latest.",
    )
    overlap: Literal["skip", "wait"] = described(
        "skip", "`skip` or delay (`wait`) a retraining that is due while the previous one is still running."
    )
