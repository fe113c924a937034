"""Whole pipelines by Kubeflow's local runner, in containers of the image, on the docstrings of the demo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest
import yaml
from kfp import dsl
from mlflow import MlflowClient
from pipelines.docstrings.pairs import build
from pipelines.kubeflow_retrain.pipeline import build_pipeline

from embedstep.orchestration.kfp import IMAGE, one_line, train_embedder
from tests.components.local_runner import results, run_in_containers
from tests.mlflow_server import mlflow_server

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pipelines run here, and return the folder that containers see at its own path."""
    shared = tmp_path / "shared"
    shared.mkdir()
    run_in_containers(monkeypatch, tmp_path / "outputs", shared)
    return shared


def test_a_retraining_promotes_and_the_next_one_finds_nothing_new(
    runner: Path, tmp_path: Path, tiny_model: Path
) -> None:
    """Twice: the second trains nothing, because the champion is of the same request and the same rows."""
    build(runner, limit=400)
    subprocess.run(["cp", "-r", str(tiny_model), str(runner / "tiny")], check=True)
    with mlflow_server(tmp_path) as uri:
        columns = {"anchor": "query", "positive": "docstring"}
        request = {
            "model": str(runner / "tiny"),
            "data": {
                "train": {"docs": {"path": str(runner / "train.parquet"), "columns": columns}},
                "eval": {"docs": {"path": str(runner / "eval.parquet"), "columns": columns}},
            },
            "loss": "multiple_negatives_ranking",
            "evaluators": [{"kind": "information_retrieval", "name": "docs", "dataset": "docs"}],
            "arguments": {"learning_rate": 1e-3, "save_strategy": "no", "eval_strategy": "epoch"},
            "tracking": {"uri": uri, "register_as": "docs"},
            "promotion": {"metric": "docs_cosine_ndcg@10"},
            "skip_if_unchanged": True,
        }  # fmt: skip
        retraining = build_pipeline(yaml.safe_dump(request))
        retraining()
        (first,) = results(tmp_path / "outputs", "result")
        (decision,) = results(tmp_path / "outputs", "decision")
        assert (first["outcome"], first["skip_reason"]) == ("succeeded", None)
        assert decision["verdict"] == "promote"
        retraining()
        _, second = results(tmp_path / "outputs", "result")
        assert second["skip_reason"] == "unchanged"
        assert len(results(tmp_path / "outputs", "decision")) == 1
        states = [found["state"] for found in results(tmp_path / "outputs", "outcome")]
        assert len(states) == 2


def test_a_task_has_the_digest_of_the_request(
    runner: Path, tmp_path: Path, data_folder: Path, tiny_model: Path
) -> None:
    for source in (data_folder, tiny_model):
        subprocess.run(["cp", "-r", str(source), str(runner / source.name)], check=True)
    request = {
        "model": str(runner / tiny_model.name),
        "data": {"train": {"docs": {
            "path": str(runner / data_folder.name / "train.jsonl"),
            "columns": {"anchor": "anchor", "positive": "positive"},
        }}},
        "loss": "multiple_negatives_ranking", "arguments": {"max_steps": 1, "save_strategy": "no"},
        "tracking": {"kind": "none"},
    }  # fmt: skip
    text = yaml.safe_dump(request)

    @dsl.pipeline
    def once(request: str = one_line(text)) -> None:
        train_embedder(request=request)

    once()
    (result,) = results(tmp_path / "outputs", "result")
    (tmp_path / "request.yaml").write_text(text)
    planned = subprocess.run(
        ["embedstep", "plan", str(tmp_path / "request.yaml"), "--json"], capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert result["request_fingerprint"] == json.loads(planned.stdout)["request_fingerprint"]


def test_the_image_of_the_components_is_there() -> None:
    assert docker.from_env().images.get(IMAGE).tags == [IMAGE]


def test_a_run_that_kubeflow_has_opened_is_attached_to(
    runner: Path, tmp_path: Path, data_folder: Path, tiny_model: Path
) -> None:
    """Kubeflow's own integration opens a run, names it in the environment, and ends it itself."""
    for source in (data_folder, tiny_model):
        subprocess.run(["cp", "-r", str(source), str(runner / source.name)], check=True)
    rows = {
        "path": str(runner / data_folder.name / "train.jsonl"),
        "columns": {"anchor": "anchor", "positive": "positive"},
    }
    request = {
        "model": str(runner / tiny_model.name), "data": {"train": {"docs": rows}}, "loss": "multiple_negatives_ranking",
        "arguments": {"max_steps": 2, "logging_steps": 1, "save_strategy": "no"},
        "tracking": {"experiment": "elsewhere"},
    }  # fmt: skip
    with mlflow_server(tmp_path) as uri:
        mlflow = MlflowClient(uri)
        opened = mlflow.create_run(mlflow.create_experiment("of-kubeflow"), run_name="train-embedder")

        @dsl.pipeline
        def once(request: str = one_line(yaml.safe_dump(request))) -> None:
            task = train_embedder(request=request)
            task.set_env_variable("MLFLOW_TRACKING_URI", uri)
            task.set_env_variable("MLFLOW_RUN_ID", opened.info.run_id)

        once()
        experiments = [one.experiment_id for one in mlflow.search_experiments()]
        (run,) = mlflow.search_runs(experiments)
        assert (run.info.run_id, run.info.status) == (opened.info.run_id, "RUNNING")
        assert [one.step for one in mlflow.get_metric_history(run.info.run_id, "loss")] == [1, 2]
        assert run.data.params["learning_rate"] == "5e-05"
    (result,) = results(tmp_path / "outputs", "result")
    assert result["run_id"] == opened.info.run_id
