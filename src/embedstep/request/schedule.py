"""The schedule section: when a retraining begins, in one line for every orchestrator."""

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
"""Signs that every orchestrator's cron knows; `L`, `#`, `?` and names it may not."""


def _cron(text: str) -> str:
    """Check that a cron expression has five fields, means the same to every orchestrator, and fires at all."""
    fields = text.split()
    if len(fields) != _FIELDS:
        told = "needs five fields: minute, hour, day of the month, month, day of the week, such as `0 3 * * 1`"
        raise ValueError(f"{told}; {text!r} was given")
    if not _COMMON.fullmatch(text) or "7" in re.findall(r"[0-9]+", fields[-1]):
        told = "may have digits and `* , - /` only, and Sunday is 0: not every orchestrator knows more"
        raise ValueError(f"{told}; {text!r} was given")
    try:
        next(CronSim(text, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{text!r} never fires: {str(error).lower() or 'there is no such day'}") from None
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, LookupError):
        raise ValueError(f"knows no time zone {text!r}; write one such as UTC or Europe/Berlin") from None
    return text


Cron = Annotated[Text, AfterValidator(_cron)]
TimeZone = Annotated[Text, AfterValidator(_zone)]


class Schedule(Section):
    """When a retraining begins."""

    cron: Cron = described(
        ...,
        "Five fields as cron has them, such as `0 3 * * 1`: minute, hour, day of the month, month, day of the week.",
    )
    timezone: TimeZone = described("UTC", "Time zone of the hours, such as `Europe/Berlin`.")
    catch_up: Boolean = described(
        False, "Train for each time that was missed, while the scheduler was away. Without it only the newest trains."
    )
    overlap: Literal["skip", "wait"] = described(
        "skip", "What becomes of a retraining that is due while the one before still runs: it is left out, or waits."
    )
