"""Whole pipelines by Kubeflow's local runner, in containers of the image, on the docstrings of the demo."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from kfp import dsl, local
from kfp.local import docker_task_handler, executor_input_utils
from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator
from pipelines.docstrings.pairs import build
from pipelines.kubeflow_retrain.pipeline import retraining_of

from embedstep.adapters.kfp import IMAGE, one_line, train_embedder
from tests.mlflow_server import mlflow_server

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]


def _run_to_its_end(client: Any, image: str, command: list[str], volumes: dict[str, Any], **given: Any) -> int:
    """Run a container and return its code.

    kfp's own lets docker remove a container that has ended, asks it for its code afterwards, and takes a container
    that is gone by then for one that went well.
    """
    container = client.containers.run(image=image, command=command, detach=True, volumes=volumes, **given)
    try:
        for line in container.logs(stream=True, follow=True):
            print(line.decode(errors="replace"), end="")  # noqa: T201 - as kfp's own does
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


def _without_what_was_not_set(executor_input: Any, component_spec: Any) -> dict[str, Any]:
    """Hand over only what was set: kfp's own makes int(None) of an integer that was left out."""
    parameters = executor_input.inputs.parameter_values
    for name in [name for name, value in parameters.items() if value.WhichOneof("kind") in (None, "null_value")]:
        del parameters[name]
    found: dict[str, Any] = _TO_DICT(executor_input, component_spec)
    return found


def _verdict_or_as_before(channel: str, io_store: Any) -> Any:
    """Resolve the output that a condition asks for: kfp's own knows none but those that are named `Output`."""
    task, _, output = channel.removeprefix("pipelinechannel--").rpartition("-")
    return io_store.get_task_output(task, output) if output == "verdict" else _RESOLVE(channel, io_store)


_RESOLVE = ConditionEvaluator._resolve_pipeline_channel
_TO_DICT = executor_input_utils.executor_input_to_dict


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pipelines run here, and return the folder that containers see at its own path."""
    monkeypatch.setattr(docker_task_handler, "run_docker_container", _run_to_its_end)
    monkeypatch.setattr(executor_input_utils, "executor_input_to_dict", _without_what_was_not_set)
    monkeypatch.setattr(ConditionEvaluator, "_resolve_pipeline_channel", staticmethod(_verdict_or_as_before))
    shared = tmp_path / "shared"
    shared.mkdir()
    local.init(
        local.DockerRunner(
            network_mode="host", user="0", entrypoint="",
            mounts=[docker.types.Mount(str(shared), str(shared), type="bind")],
        ),
        pipeline_root=str(tmp_path / "outputs"),
        raise_on_error=True,
    )  # fmt: skip
    return shared


def results(root: Path, name: str) -> list[dict[str, Any]]:
    """What tasks have left under a name, in the order of their runs."""
    files = sorted(root.rglob(name), key=lambda file: file.stat().st_mtime)
    return [json.loads(file.read_text()) for file in files if file.is_file()]


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
        retraining = retraining_of(yaml.safe_dump(request))
        retraining()
        (first,) = results(tmp_path / "outputs", "result")
        (decision,) = results(tmp_path / "outputs", "decision")
        assert (first["outcome"], first["verdict"]) == ("succeeded", None)
        assert decision["verdict"] == "promote"
        retraining()
        _, second = results(tmp_path / "outputs", "result")
        assert second["verdict"] == "unchanged"
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
