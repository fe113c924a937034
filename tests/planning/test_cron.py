"""When a schedule fires, and which of several runs that come late trains."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.errors import InvalidRequestError
from embedstep.planning.cron import firings, list_firings, superseded_by
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request
from embedstep.request.schedule import Schedule
from embedstep.step import run_step

Build = Callable[..., dict[str, Any]]
MONDAYS = {"cron": "0 3 * * 1", "timezone": "Europe/Berlin"}


def test_the_next_firings_across_the_end_of_summer_time() -> None:
    now = datetime(2026, 10, 20, 12, tzinfo=UTC)
    assert list_firings(Schedule.model_validate(MONDAYS), now, 3) == [
        ("Mon 2026-10-26 03:00+01:00", "2026-10-26 02:00 UTC"),
        ("Mon 2026-11-02 03:00+01:00", "2026-11-02 02:00 UTC"),
        ("Mon 2026-11-09 03:00+01:00", "2026-11-09 02:00 UTC"),
    ]
    (before,) = list_firings(Schedule.model_validate(MONDAYS), now - timedelta(days=7), 1)
    assert before == ("Mon 2026-10-19 03:00+02:00", "2026-10-19 01:00 UTC")


def test_a_time_that_a_night_leaves_out_or_has_twice_fires_once() -> None:
    daily = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    spring = firings(daily, datetime(2027, 3, 27, 12, tzinfo=UTC))
    assert next(spring).isoformat() == "2027-03-28T03:00:00+02:00"
    assert next(spring).isoformat() == "2027-03-29T02:30:00+02:00"
    autumn = firings(daily, datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert [next(autumn).date().isoformat() for _ in range(2)] == ["2026-10-25", "2026-10-26"]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"cron": "0 0 30 2 *"}, "schedule.cron: '0 0 30 2 *' never fires: bad day-of-month"),
        ({"cron": "* * * * * *"}, "schedule.cron: needs five fields: minute, hour"),
        ({"cron": "0 25 * * *"}, "schedule.cron: '0 25 * * *' never fires: bad hour"),
        ({"cron": "@weekly"}, "schedule.cron: needs five fields"),
        ({"cron": "0 3 * * 7"}, "with 0 for Sunday, because some orchestrators support no more; '0 3 * * 7' was given"),
        ({"cron": "0 3 L * *"}, "schedule.cron: needs digits and `* , - /` only"),
        ({"cron": "0 3 * * 1#2"}, "schedule.cron: needs digits and `* , - /` only"),
        ({"cron": "0 3 * * 1", "timezone": "Berlin"}, "schedule.timezone: 'Berlin' is not a time zone"),
        ({"cron": "0 3 * * 1", "timezone": "../etc/passwd"}, "schedule.timezone: '../etc/passwd' is not a time zone"),
        ({"cron": "0 3 * * 1", "overlap": "allow"}, "schedule.overlap: must be skip or wait; 'allow' was given"),
        ({}, "schedule.cron: is missing"),
    ],
)
def test_a_schedule_that_cannot_be_is_reported(request_of: Build, schedule: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        load_request(json.dumps(request_of(schedule=schedule)))
    assert message in str(refused.value)


def test_when_it_runs_is_no_part_of_what_is_trained(request_of: Build) -> None:
    plain, scheduled = (load_request(json.dumps(request_of(**more))) for more in ({}, {"schedule": MONDAYS}))
    assert request_fingerprint(plain) == request_fingerprint(scheduled)


def shortest(**sections: Any) -> dict[str, Any]:
    columns = {"anchor": "a", "positive": "b"}
    data = {"train": {"docs": {"path": "rows.jsonl", "columns": columns}}}
    return {"model": "tiny", "data": data, "loss": "multiple_negatives_ranking", **sections}


def build(request_of: Build, as_of: str | None, **schedule: Any) -> Any:
    document = request_of(schedule={**MONDAYS, **schedule})
    document["data"]["as_of"] = as_of
    return load_request(json.dumps(document))


@pytest.mark.parametrize(
    ("as_of", "due"),
    [
        ("2026-11-02T02:00:00Z", "2026-11-09T03:00:00+01:00"),
        ("2026-11-02 03:00", "2026-11-09T03:00:00+01:00"),  # in the time zone of the schedule
        ("2026-11-16T02:00:00Z", None),
        ("2026-11-02", None),
        (None, None),
    ],
)
def test_a_run_whose_successor_is_due_has_nothing_to_do(request_of: Build, as_of: str | None, due: str | None) -> None:
    found = superseded_by(build(request_of, as_of), datetime(2026, 11, 16, 12, tzinfo=UTC))
    assert (found and found.isoformat()) == due
    assert superseded_by(build(request_of, as_of, catch_up=True), datetime(2026, 11, 16, 12, tzinfo=UTC)) is None


@given(st.integers(1, 40), st.integers(0, 7 * 24 * 60 - 1))
def test_of_all_that_a_scheduler_has_missed_one_trains(count: int, late: int) -> None:
    times = firings(Schedule.model_validate(MONDAYS), datetime(2026, 8, 1, tzinfo=UTC))
    missed = [next(times) for _ in range(count)]
    # Started at once, some time after the last of them.
    now = min(missed[-1] + timedelta(minutes=late), next(times) - timedelta(minutes=1))
    requests = [build(shortest, moment.astimezone(UTC).isoformat()) for moment in missed]
    trains = [moment for moment, one in zip(missed, requests, strict=True) if superseded_by(one, now) is None]
    assert trains == [missed[-1]]


@pytest.mark.torchrun
def test_of_seven_runs_that_a_scheduler_starts_at_once_one_trains(request_of: Build, tmp_path: Path) -> None:
    daily, now = Schedule(cron="0 3 * * *"), datetime.now(UTC)
    missed = [moment for moment in islice(firings(daily, now - timedelta(days=8)), 8) if moment <= now][-7:]
    results = []
    for moment in missed:
        document = request_of(schedule={"cron": "0 3 * * *"})
        document["data"]["as_of"] = moment.isoformat()
        results.append(run_step(load_request(json.dumps(document)), tmp_path / moment.strftime("%d")))
    assert [result.exit_code for result in results] == [0] * 7
    assert [result.skip_reason for result in results] == ["superseded"] * 6 + [None]
    assert [result.model is None for result in results] == [True] * 6 + [False]
    tomorrow = missed[1].isoformat(sep=" ", timespec="minutes")
    assert str(results[0].stop_reason).startswith(f"the next retraining was due at {tomorrow}, and this one is for ")
    assert json.loads((tmp_path / missed[0].strftime("%d") / "result.json").read_text())["skip_reason"] == "superseded"
