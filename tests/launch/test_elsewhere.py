"""What a request for a cluster is refused for before a job is submitted, where no cluster is needed to know it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from embedstep.cli.estimate import estimate_from_trial
from embedstep.cli.program import main
from embedstep.errors import InvalidRequestError
from embedstep.replay import _local_request
from embedstep.request.loading import load_request
from embedstep.request.stored import request_to_json
from embedstep.step import plan_step, run_step

Build = Callable[..., dict[str, Any]]
LAUNCH = {
    "kind": "trainjob", "nodes": 2, "processes_per_node": 4,
    "trainjob": {
        "image": "embedstep:0.1.0", "output": "/shared/out", "volumes": [{"claim": "shared", "path": "/shared"}],
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody may be asked: a submission would end with `cannot start` here."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"loss": "no_such_loss"}, "no loss is named 'no_such_loss'"),
        ({"arguments": {"output_dir": "/elsewhere"}}, "arguments.output_dir: is /elsewhere, and the pods write to"),
        ({"evaluators": [{"kind": "triplets", "name": "a", "dataset": "b"}]}, "evaluators.0"),
    ],
)
def test_what_needs_no_files_is_reported_before_a_job_is_submitted(
    request_of: Build, tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    request = load_request(json.dumps(request_of(launch=LAUNCH, model="/shared/model", **sections)))
    with pytest.raises(InvalidRequestError, match=message):
        run_step(request, tmp_path / "out")


def test_a_job_that_is_superseded_is_not_submitted(request_of: Build, tmp_path: Path) -> None:
    document = request_of(launch=LAUNCH, schedule={"cron": "0 3 * * *"})
    document["data"]["as_of"] = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    result = run_step(load_request(json.dumps(document)), tmp_path / "out")
    assert (result.exit_code, result.skip_reason, result.output) == (0, "superseded", "/shared/out")


def test_an_output_that_the_pods_do_not_use_is_reported(request_of: Build, tmp_path: Path) -> None:
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request_of(launch=LAUNCH)))
    ended = CliRunner().invoke(main, ["run", str(tmp_path / "request.yaml"), "--output", "here"])
    assert ended.exit_code == 2
    assert "--output: has no effect: the pods of launch.kind: trainjob write to launch.trainjob.output" in ended.output


def test_a_probe_is_not_made_on_this_machine(request_of: Build) -> None:
    request = load_request(json.dumps(request_of()))
    elsewhere = load_request(json.dumps(request_of(launch=LAUNCH)))
    with pytest.raises(InvalidRequestError, match=r"launch\.kind: is trainjob, but a trial runs on this machine"):
        estimate_from_trial(elsewhere, plan_step(request))


def test_a_replay_trains_here_with_as_many_processes(request_of: Build) -> None:
    """And not on the cluster, whose job would write over the model that it is compared with."""
    request = _local_request(request_to_json(load_request(json.dumps(request_of(launch=LAUNCH)))), 8)
    assert (request.launch.kind, request.launch.nodes, request.launch.processes_per_node) == ("local", 1, 8)
    assert request.launch.trainjob is None
