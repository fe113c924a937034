"""The times of a retraining, in words that every orchestrator knows."""

from typing import Any

import pytest
from pydantic import ValidationError

from embedstep.request.schedule import Schedule


def test_hours_are_utc_and_missed_times_are_left_out_unless_it_says_otherwise() -> None:
    schedule = Schedule.model_validate({"cron": "0 3 * * 1"})
    assert (schedule.timezone, schedule.catch_up, schedule.overlap) == ("UTC", False, "skip")


@pytest.mark.parametrize("cron", ["*/15 * * * *", "0 3 1,15 * *", "0 0-6/2 * 1-3 0"])
def test_what_all_of_them_know_is_accepted(cron: str) -> None:
    assert Schedule.model_validate({"cron": cron}).cron == cron


@pytest.mark.parametrize(
    "given",
    [
        {"cron": "0 3 * *"},
        {"cron": "0 0 3 * * 1"},
        {"cron": "0 3 * * MON"},
        {"cron": "0 3 L * *"},
        {"cron": "0 3 * * 7"},
        {"cron": "0 0 30 2 *"},
        {"cron": "61 * * * *"},
        {"cron": "0 3 * * 1", "timezone": "Europe/Atlantis"},
        {"cron": "0 3 * * 1", "overlap": "kill"},
        {},
    ],
    ids=str,
)
def test_what_one_of_them_does_not_know_or_never_fires_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Schedule.model_validate(given)
