"""A real ZenML on a store of its own, offline: code runs next to a request and prints what a person would look up."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.places import ROOT

FORKS = Path(__file__).parent / "forks"
Build = Callable[..., dict[str, Any]]
Zen = Callable[..., dict[str, Any]]

# Runs pipelines and prints what a person would look up of them, as JSON.
PRELUDE = """
import json, os, sys
from contextlib import contextmanager
from pathlib import Path
from zenml import pipeline
from zenml.client import Client
from embedstep.orchestration.zenml import *
request = Path("request.yaml").read_text()

def shown(run):
    steps = {name: str(step.status) for name, step in run.steps.items()}
    return {"status": str(run.status), "steps": steps}

def last():
    return Client().list_pipeline_runs(sort_by="desc:created", size=1, hydrate=True).items[0]

def out(**found):
    print("FOUND " + json.dumps(found))

@contextmanager
def tracked(uri):
    # Makes a stack with ZenML's MLflow tracker `mlf` the active one, and gives the client of what it records.
    import mlflow
    client = Client()
    client.create_stack_component("mlf", "mlflow", "experiment_tracker", {"tracking_uri": uri})
    default = {"orchestrator": "default", "artifact_store": "default"}
    client.create_stack("tracked", {**default, "experiment_tracker": "mlf"})
    client.activate_stack("tracked")
    try:
        yield mlflow.MlflowClient(uri)
    finally:
        client.activate_stack("default")
        client.delete_stack("tracked")
        client.delete_stack_component("mlf", "experiment_tracker")

def recorded(store):
    return store.search_runs([one.experiment_id for one in store.search_experiments()])
"""


def forking(*folders: Path) -> dict[str, str]:
    """Return variables by which a new interpreter imports from these folders, and forks its trainings."""
    return {"PYTHONPATH": os.pathsep.join(map(str, (FORKS, *folders, ROOT / "src"))), "EMBEDSTEP_TEST_FORKS_HERE": "1"}


@pytest.fixture(scope="session")
def zenml_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: making it takes seven seconds."""
    return tmp_path_factory.mktemp("zenml")


@pytest.fixture
def zen(zenml_home: Path, tmp_path: Path) -> Zen:
    """Run code next to a request, and return what it has printed by `out`."""

    def run(request: dict[str, Any], code: str, *, fails: bool = False, **environment: str) -> dict[str, Any]:
        (tmp_path / "request.yaml").write_text(yaml.safe_dump(request))
        (tmp_path / "run.py").write_text(PRELUDE + textwrap.dedent(code))
        ended = subprocess.run(
            [sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
            env={
                **os.environ, **forking(ROOT), "ZENML_CONFIG_PATH": str(zenml_home),
                "ZENML_ANALYTICS_OPT_IN": "false", "ZENML_LOGGING_VERBOSITY": "WARN", "AUTO_OPEN_DASHBOARD": "false",
                "ZENML_ENABLE_RICH_TRACEBACK": "false", **environment,
            },
        )  # fmt: skip
        found = [line.removeprefix("FOUND ") for line in ended.stdout.splitlines() if line.startswith("FOUND ")]
        assert found or fails, ended.stdout[-3000:] + ended.stderr[-3000:]
        merged: dict[str, Any] = {"output": ended.stdout + ended.stderr}
        for one in found:
            merged |= json.loads(one)
        return merged

    return run
