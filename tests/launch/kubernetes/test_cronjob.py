"""`embedstep schedule kubernetes`: manifests that several releases of Kubernetes take, strictly."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner, Result

from embedstep.cli.program import main
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request

Build = Callable[..., dict[str, Any]]
Schedule = Callable[..., Result]
MONDAYS = {"cron": "0 3 * * 1", "timezone": "Europe/Berlin"}
GIVEN = (
    "--image", "embedstep:0.1.0", "--claim", "shared:/shared", "--output", "/shared/docs",
    "--secret", "HF_TOKEN=hub:token", "--resource", "nvidia.com/gpu=1", "--resource", "memory=32Gi", "--name", "Docs_1",
)  # fmt: skip


@pytest.fixture
def schedule(request_of: Build, tmp_path: Path) -> Schedule:
    def run(*options: str, **sections: Any) -> Result:
        (tmp_path / "request.yaml").write_text(yaml.safe_dump(request_of(**{"schedule": MONDAYS, **sections})))
        return CliRunner().invoke(main, ["schedule", "kubernetes", str(tmp_path / "request.yaml"), *options])

    return run


@pytest.mark.parametrize("release", ["1.29", "1.30", "1.34", "1.37"])
def test_kubernetes_takes_the_manifests(schedule: Schedule, release: str) -> None:
    made = schedule(*GIVEN)
    assert made.exit_code == 0, made.output
    for manifest in yaml.safe_load_all(made.stdout):
        assert kubernetes_validate.validate(manifest, release, strict=True) == release


def test_what_is_scheduled(schedule: Schedule, request_of: Build) -> None:
    made = schedule(*GIVEN)
    assert sum(line.startswith("# next: Mon ") for line in made.stdout.splitlines()) == 5
    held, cronjob = yaml.safe_load_all(made.stdout)
    request = load_request(held["data"]["request.json"])
    assert request_fingerprint(request) == request_fingerprint(load_request(json.dumps(request_of())))
    spec = cronjob["spec"]
    assert cronjob["metadata"]["name"] == held["metadata"]["name"] == "docs-1"
    assert (spec["schedule"], spec["timeZone"]) == ("0 3 * * 1", "Europe/Berlin")
    assert (spec["concurrencyPolicy"], spec["startingDeadlineSeconds"]) == ("Forbid", 300)
    job = spec["jobTemplate"]["spec"]
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2, 4]
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    (container,) = job["template"]["spec"]["containers"]
    assert container["args"] == ["run", "/etc/embedstep/request.json", "--output", "/shared/docs", "--overwrite"]
    assert container["env"] == [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        {"name": "EMBEDSTEP_GPUS", "value": "1"},
    ]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1", "memory": "32Gi"}


def test_one_that_waits_may_begin_late(schedule: Schedule) -> None:
    made = schedule(*GIVEN, schedule={**MONDAYS, "overlap": "wait", "catch_up": True})
    *_, cronjob = yaml.safe_load_all(made.stdout)
    assert "startingDeadlineSeconds" not in cronjob["spec"]
    assert "# note: of several missed times, a CronJob runs only the latest" in made.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--output", "/elsewhere/docs"), "--output: /elsewhere/docs is not in the folder of a --claim (/shared)"),
        (("--secret", "HF_TOKEN"), "--secret: needs the form VARIABLE=SECRET:KEY; 'HF_TOKEN' was given"),
        (("--secret", "HF_TOKEN=hub"), "--secret: needs the form VARIABLE=SECRET:KEY; 'hub' was given"),
        (("--timezone", "Mars/Base"), "schedule.timezone: 'Mars/Base' is not a time zone"),
    ],
)
def test_what_cannot_be_is_reported(schedule: Schedule, options: tuple[str, ...], message: str) -> None:
    refused = schedule(*GIVEN, *options)
    assert refused.exit_code == 2
    assert message in refused.output


def test_no_secret_is_printed(schedule: Schedule) -> None:
    refused = schedule(*GIVEN, tracking={"uri": "https://user:PlantedPassword123@mlflow"})
    assert refused.exit_code == 2
    assert "PlantedPassword123" not in refused.output
