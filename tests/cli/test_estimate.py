"""What a run will cost, shown before it costs anything."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedstep.cli.estimate import estimate_from_past_runs, estimate_from_trial, extrapolate_seconds, scale_hours
from embedstep.errors import InvalidRequestError
from embedstep.output.attempts import FormerRun
from embedstep.output.result import StepResult
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.conftest import Outcome

Build = Callable[..., dict[str, Any]]


def test_former_runs_are_scaled_to_the_steps() -> None:
    runs = [
        FormerRun(train_steps=steps, hours=hours, is_of_same_rows=True)
        for steps, hours in ((100, 1.0), (200, 2.2), (50, 9.0))
    ]
    assert scale_hours(runs, 1000) == pytest.approx(11.0)


def test_a_probe_is_extrapolated_part_by_part(evaluated: Build) -> None:
    """10 s of start and end, 2 s a step, and 5 s for each evaluation."""
    plan = plan_step(load_request(json.dumps(evaluated())))
    plan = replace(plan, train_steps=1000, evaluations=(0, 500, 1000))
    result = StepResult(
        exit_code=0, output="", seconds={"total": 55.0}, metrics={"train_runtime": 45.0, "eval_runtime": 5.0}
    )
    assert extrapolate_seconds(result, 20, plan) == 10 + 2 * 1000 + 5 * 3


def test_nothing_tracked_and_nothing_known_are_reported(request_of: Build, uri: str) -> None:
    request = load_request(json.dumps(request_of()))
    with pytest.raises(
        InvalidRequestError,
        match=r"tracking\.kind: is none, so there are no past runs to estimate from; use --estimate",
    ):
        estimate_from_past_runs(request, plan_step(request))
    tracking = {"kind": "mlflow", "uri": uri, "experiment": "nobody was here"}
    request = load_request(json.dumps(request_of(tracking=tracking)))
    with pytest.raises(InvalidRequestError, match="the experiment nobody was here has no run of this model"):
        estimate_from_past_runs(request, plan_step(request))


def test_what_trains_nothing_cannot_be_probed(request_of: Build) -> None:
    request = load_request(json.dumps(request_of(arguments={"do_train": False})))
    with pytest.raises(InvalidRequestError, match=r"arguments\.do_train: is false, so there is nothing to try"):
        estimate_from_trial(request, plan_step(request))


@pytest.mark.slow
def test_a_plan_shows_the_cost(
    evaluated: Build, embedstep_run: Callable[..., Outcome], tmp_path: Path, own_uri: str
) -> None:
    tracking = {"kind": "mlflow", "uri": own_uri, "experiment": "cost"}
    document = evaluated(tracking=tracking, arguments={"eval_strategy": "steps", "eval_steps": 2})
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    took = outcome.json("result.json")["cost"]["hours"]

    def estimated(way: str, *words: str) -> dict[str, Any]:
        process = subprocess.run(
            [sys.executable, "-m", "embedstep", "plan", "request.yaml", "--json", "--estimate", way, *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        found: dict[str, Any] = json.loads(process.stdout)["estimate"]
        return found

    same = estimated("former", "--set", "arguments.max_steps=8")
    assert same == {
        "hours": pytest.approx(2 * took, abs=2e-6), "unit": "process-hours",
        "basis": "1 past run of the same model on the same rows",
    }  # fmt: skip
    other = estimated("former", "--set", "data.train.docs.limit=100")
    assert (other["hours"], other["basis"]) == (
        pytest.approx(took, abs=2e-6), "1 past run of the same model on other rows",
    )  # fmt: skip
    limited = estimated("former", "--set", "launch.max_hours=1e-6")
    assert (limited["hours"], limited["basis"].rpartition(", ")[2]) == (1e-6, "capped by launch.max_hours")
    probed = estimated("probe", "--set", "arguments.resume_from_checkpoint=last", "--set", "arguments.report_to=mlflow")
    assert probed["basis"] == "a trial of 4 train steps"
    assert probed["hours"] == pytest.approx(took, rel=1.5)
    assert not (tmp_path / "outputs").exists()
    assert yaml.safe_load((tmp_path / "request.yaml").read_text()) == document
