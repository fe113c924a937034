"""A real Airflow, in an environment of its own: its pins and those of what trains do not go together."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.places import ROOT

Airflow = Callable[..., dict[str, Any]]

PRELUDE = """
import json, os, sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag

def dag_of(name):
    bag = DagBag(os.environ["AIRFLOW_HOME"] + "/dags")
    assert not bag.import_errors, bag.import_errors
    return bag.dags[name]

def states(run):
    return {one.task_id: [str(one.state), one.try_number] for one in run.get_task_instances()}

def out(**found):
    print("FOUND " + json.dumps(found, default=str))
"""


@pytest.fixture(scope="session")
def python() -> str:
    found = os.environ.get("EMBEDSTEP_AIRFLOW")
    assert found, "EMBEDSTEP_AIRFLOW names no interpreter; `make test-airflow` makes an environment and sets it"
    return str(Path(found).absolute())


@pytest.fixture(scope="session")
def home(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's folder, with its database."""
    folder = tmp_path_factory.mktemp("airflow")
    (folder / "dags").mkdir()
    subprocess.run(
        [python, "-m", "airflow", "db", "migrate"],
        env=environment(folder),
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False", "SCARF_ANALYTICS": "false",
        "EMBEDSTEP_PYTHON": sys.executable, "EMBEDSTEP_RUNS": str(home / "runs"), **more,
    }  # fmt: skip


@pytest.fixture
def airflow(python: str, home: Path, tmp_path: Path) -> Airflow:
    """Run code next to the DAG of the project and a request, and return what it has printed by `out`."""

    def run(request: dict[str, Any] | None, code: str, **more: str) -> dict[str, Any]:
        if request is not None:
            shutil.copy(ROOT / "pipelines" / "airflow_retrain" / "dag.py", home / "dags")
            (home / "dags" / "request.yaml").write_text(yaml.safe_dump(request))
        (tmp_path / "run.py").write_text(PRELUDE + textwrap.dedent(code))
        ended = subprocess.run(
            [python, "run.py"], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
            env=environment(home, **more),
        )  # fmt: skip
        found = [line.removeprefix("FOUND ") for line in ended.stdout.splitlines() if line.startswith("FOUND ")]
        assert found, ended.stdout[-3000:] + ended.stderr[-3000:]
        merged: dict[str, Any] = {"output": ended.stdout + ended.stderr}
        for one in found:
            merged |= json.loads(one)
        return merged

    return run
