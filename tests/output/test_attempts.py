"""What attempts have cost, those that came to nothing included."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from embedstep.output.attempts import Attempt, Attempts, total_cost
from embedstep.output.result import write_json


def test_hours_are_those_of_all_processes() -> None:
    lost = Attempt(started="2026-11-02T03:00:00+00:00", processes=4, device="GPU", seconds=1800, exit_code=75)
    good = Attempt(started="2026-11-02T04:00:00+00:00", processes=4, device="GPU", seconds=3600, exit_code=0)
    found = total_cost([lost, good])
    assert (found["unit"], found["hours"], found["lost_hours"]) == ("GPU-hours", 6.0, 2.0)
    assert [one["hours"] for one in found["attempts"]] == [2.0, 4.0]
    assert total_cost([])["hours"] == 0


def test_attempts_add_up_until_one_has_ended_well(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "attempts.json", tmp_path / "progress.json")
    attempts.begin(processes=2, on_cpu=True)
    found = attempts.end(seconds=36, exit_code=75)
    assert (found["unit"], found["hours"], found["lost_hours"]) == ("process-hours", 0.02, 0.02)
    attempts.begin(processes=2, on_cpu=True)
    found = attempts.end(seconds=72, exit_code=0)
    assert (found["hours"], found["lost_hours"]) == (0.06, 0.02)
    attempts.begin(processes=2, on_cpu=True, resumes=True)  # the one before was killed while it was recorded
    found = attempts.end(seconds=36, exit_code=0)
    assert (found["hours"], found["lost_hours"]) == (0.08, 0.02)
    attempts.begin(processes=1, on_cpu=True)
    assert len(attempts.read()) == 1


def test_a_killed_attempt_has_cost_until_its_last_sign(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "attempts.json", tmp_path / "progress.json")
    began = datetime.now(UTC) - timedelta(seconds=3600)
    write_json(attempts.file, [
        {"started": began.isoformat(), "processes": 1, "device": "CPU", "seconds": 0.0, "exit_code": None},
    ])  # fmt: skip
    attempts.heartbeat.write_text("{}")
    os.utime(attempts.heartbeat, (time.time(), began.timestamp() + 1800))
    attempts.begin(processes=1, on_cpu=True)
    # The second is killed at once, whatever the first one's last sign was.
    os.utime(attempts.heartbeat)
    attempts.begin(processes=1, on_cpu=True)
    found = attempts.end(seconds=1800, exit_code=0)
    assert (found["hours"], found["lost_hours"]) == (pytest.approx(1.0, abs=0.01), pytest.approx(0.5, abs=0.01))
    assert [one["exit_code"] for one in found["attempts"]] == [None, None, 0]
