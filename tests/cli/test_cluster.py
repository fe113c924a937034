"""The manifest of a request, and what a pod does without one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from embedstep.cli.program import main

Build = Callable[..., dict[str, Any]]
JOB = {"image": "embedstep:1", "output": "/shared/docs", "volumes": [{"claim": "shared", "path": "/shared"}]}


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(main, arguments)


@pytest.fixture
def request_file(request_of: Build, tmp_path: Path) -> Callable[..., str]:
    def write(**launch: Any) -> str:
        path = tmp_path / "request.yaml"
        path.write_text(yaml.safe_dump(request_of(launch=launch)))
        return str(path)

    return write


def test_a_manifest_is_one_trainjob_with_the_number_of_its_attempt(request_file: Callable[..., str]) -> None:
    path = request_file(kind="trainjob", nodes=2, trainjob=JOB)
    first, third = (yaml.safe_load(run("manifest", path, "--attempt", number).stdout) for number in ("1", "3"))
    assert first["kind"] == "TrainJob"
    assert first["spec"]["trainer"]["numNodes"] == 2
    assert third["metadata"]["name"] == first["metadata"]["name"].removesuffix("-1") + "-3"


def test_a_request_for_this_machine_has_no_manifest(request_file: Callable[..., str]) -> None:
    ended = run("manifest", request_file())
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "launch.kind" in ended.stderr


def test_a_pod_without_a_request_is_refused() -> None:
    ended = run("node")
    assert ended.exit_code == 2
    assert ended.stderr
