"""What is scheduled, and what the orchestrator does not follow of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from embedstep.orchestration.kfp.schedule import schedule_pipeline
from embedstep.orchestration.scheduled import Scheduled
from embedstep.request.loading import load_request
from tests.places import ROOT

PIPELINE = ROOT / "pipelines" / "kubeflow_retrain" / "pipeline.yaml"


@pytest.mark.parametrize(
    ("schedule", "notes"),
    [
        ({"cron": "0 3 * * 1"},
         ["Kubeflow does not skip a run that is due while the previous one is still running: the newest waits"]),
        ({"cron": "0 4 * * 1", "overlap": "wait"},
         ["the request in the pipeline has the schedule 0 3 * * 1 in UTC, so its runs cannot detect that they are "
          "superseded; write this schedule into the request and compile the pipeline again"]),
    ],
)  # fmt: skip
def test_it_says_what_would_be_created_and_where_that_differs_from_the_request(
    request_of: Callable[..., dict[str, Any]], schedule: dict[str, str], notes: list[str]
) -> None:
    request = load_request(json.dumps(request_of(schedule=schedule)))
    found = schedule_pipeline(request, PIPELINE, name="docs", experiment=None, host=None, namespace=None, dry_run=True)
    assert isinstance(found, Scheduled)
    facts = dict(found.facts)
    assert (facts["recurring run"], facts["experiment"]) == ("docs would be created or replaced", "docs")
    assert facts["cron_expression"] == f"0 {schedule['cron']}"
    assert list(found.notes) == notes
