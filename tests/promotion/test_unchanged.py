"""A training that is not needed, since the model that serves has learned from the same request and rows."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.tracking.mlflow_registry import Registry
from tests.conftest import Outcome
from tests.tracking.conftest import open_client

Build = Callable[..., dict[str, Any]]
Run = Callable[..., Outcome]

pytestmark = pytest.mark.slow


def test_what_serves_is_not_trained_again(request_of: Build, embedstep_run: Run, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracking = {"kind": "mlflow", "uri": uri, "register_as": "same"}
    document = request_of(tracking=tracking, skip_if_unchanged=True)
    first = embedstep_run(document)
    assert first.code == 0, first.err
    assert first.json("result.json")["skip_reason"] is None
    registry = Registry(uri, "same")
    version = registry.find_version(first.json("result.json")["run_id"])
    assert version is not None
    # Nothing serves yet, so that the same is trained once more.
    shutil.rmtree(first.output)
    assert registry.promote(version, None)
    second = embedstep_run(document)
    assert second.code == 0, second.err
    assert second.out == "unchanged: models:/same/1 was trained from the same request and rows; nothing was trained\n"
    result = second.json("result.json")
    assert (result["outcome"], result["skip_reason"], result["champion"]) == (
        "succeeded",
        "unchanged",
        "models:/same/1",
    )
    assert not (second.output / "model").exists()
    runs = open_client(uri).search_runs([open_client(uri).get_experiment_by_name("embedstep").experiment_id])
    assert len(runs) == 1
    process = subprocess.run(
        [sys.executable, "-m", "embedstep", "promote", "request.yaml", "output"],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[0] == "hold"
    third = embedstep_run(document, "--set", "arguments.seed=43")
    assert third.json("result.json")["skip_reason"] is None
    assert third.json("result.json")["model"]
