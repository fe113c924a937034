"""One request in every way: the same digest, and the same weights to the bit."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl

from embedstep.orchestration.kfp import one_line, train_embedder
from tests.components.local_runner import results, run_in_containers
from tests.orchestration.airflow.running import Airflow

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

ZENML = """
import json, os
from pathlib import Path
from zenml import pipeline
from zenml.client import Client
from embedstep.orchestration.zenml import train_embedder

@pipeline(enable_cache=False)
def once():
    train_embedder(request=Path("request.yaml").read_text())

once()
run = Client().list_pipeline_runs(sort_by="desc:created", size=1, hydrate=True).items[0]
print("FOUND " + json.dumps(dict(run.steps["train_embedder"].outputs["model"][0].load().result)))
"""


def test_every_way_trains_the_same(
    airflow: Airflow, request_of: Callable[..., dict[str, Any]], data_folder: Path, tiny_model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shared = tmp_path / "shared"
    shutil.copytree(data_folder, shared / "data")
    shutil.copytree(tiny_model, shared / "tiny")
    request = request_of(model=str(shared / "tiny"), arguments={"use_cpu": True})
    request["data"]["train"]["docs"]["path"] = str(shared / "data" / "train.jsonl")
    text = yaml.safe_dump(request)
    (tmp_path / "request.yaml").write_text(text)

    subprocess.run(
        [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", "by-cli"], cwd=tmp_path, check=True,
        capture_output=True, timeout=200,
    )  # fmt: skip
    found = {"command line": json.loads((tmp_path / "by-cli" / "result.json").read_text())}

    (tmp_path / "zen.py").write_text(ZENML)
    settings = {
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"), "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "WARN", "AUTO_OPEN_DASHBOARD": "false",
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "zen.py"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300,
        env={**os.environ, **settings},
    )  # fmt: skip
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("FOUND ")]
    found["ZenML"] = json.loads(line.removeprefix("FOUND "))

    airflow(
        None,
        f"""
        from embedstep.orchestration.airflow import EmbedstepOperator
        operator = EmbedstepOperator(
            task_id="train", component="train_embedder", request=Path("request.yaml").read_text(),
            folder="{tmp_path}/by-airflow", python="{sys.executable}",
        )
        out(**operator.execute({{}}))
        """,
    )
    found["Airflow"] = json.loads((tmp_path / "by-airflow" / "result").read_text())

    run_in_containers(monkeypatch, tmp_path / "by-kubeflow", shared)

    @dsl.pipeline
    def once(request: str = one_line(text)) -> None:
        train_embedder(request=request)

    once()
    (found["Kubeflow"],) = results(tmp_path / "by-kubeflow", "result")

    assert {len(one["weights_sha256"]) for one in found.values()} == {64}
    assert len({one["request_fingerprint"] for one in found.values()}) == 1
    assert len({one["weights_sha256"] for one in found.values()}) == 1, {
        name: one["weights_sha256"] for name, one in found.items()
    }
