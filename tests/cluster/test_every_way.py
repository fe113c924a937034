"""One request in every way: a laptop, a container, a task of Kubeflow Pipelines and the pods of a TrainJob."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from kubernetes import client

from embedstep.orchestration.kfp import one_line, train_embedder
from tests.cluster.conftest import IMAGE
from tests.cluster.trainer import GROUP, VERSION
from tests.components.local_runner import results, run_in_containers

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(420), pytest.mark.usefixtures("controller")]

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: Path, kubeconfig: str) -> Path:
    """Let pipelines run in containers that see the shared folder and the cluster; return where their outputs go."""
    (tmp_path / "artifacts").mkdir()
    run_in_containers(monkeypatch, tmp_path / "outputs", shared, Path(kubeconfig).parent, tmp_path / "artifacts")
    return tmp_path / "outputs"


def test_the_request_has_one_digest_everywhere(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build, pipelines: Path
) -> None:
    text = yaml.safe_dump(document(nodes=1))
    (shared / "request.yaml").write_text(text)
    plan = ["plan", str(shared / "request.yaml"), "--json"]
    inside = ["/usr/bin/docker", "run", "--rm", "--network=none", f"--volume={shared}:{shared}", IMAGE]
    outputs = [
        subprocess.run([*command, *plan], capture_output=True, text=True, check=True).stdout
        for command in ([sys.executable, "-m", "embedstep"], inside)
    ]
    laptop, container = (json.loads(output)["request_fingerprint"] for output in outputs)

    @dsl.pipeline
    def once(request: str = one_line(text)) -> None:
        train_embedder(request=request, image=IMAGE).set_env_variable("KUBECONFIG", kubeconfig)

    once()
    (task,) = results(pipelines, "result")
    pod = json.loads((shared / "out" / "result.json").read_text())
    (job,) = client.CustomObjectsApi(api).list_namespaced_custom_object(GROUP, VERSION, namespace, "trainjobs")["items"]
    assert job["metadata"]["annotations"]["embedstep.dev/request"] == laptop
    assert [container, task["request_fingerprint"], pod["request_fingerprint"]] == [laptop] * 3
    assert pod["weights_sha256"] == task["weights_sha256"] is not None


def test_artifacts_of_a_pipeline_reach_the_pods_of_its_trainjob(
    kubeconfig: str, shared: Path, document: Build, pipelines: Path, tmp_path: Path
) -> None:
    """They lie in the task's own container, of which the pods see nothing."""
    request = document(nodes=1)
    rows = tmp_path / "artifacts" / "rows.jsonl"
    shutil.copy(shared / "data" / "train.jsonl", rows)
    request["data"]["train"]["docs"]["path"] = str(shared / "nowhere.jsonl")

    @dsl.pipeline
    def once(request: str = one_line(yaml.safe_dump(request))) -> None:
        train = dsl.importer(artifact_uri=str(rows), artifact_class=dsl.Dataset)
        task = train_embedder(request=request, train_data=train.output, image=IMAGE)
        task.set_env_variable("KUBECONFIG", kubeconfig)

    once()
    (result,) = results(pipelines, "result")
    assert result["outcome"] == "succeeded"
    (copy,) = (shared / "inputs" / "train_data").glob("*/data.jsonl")
    assert copy.read_bytes() == rows.read_bytes()
    (model,) = pipelines.rglob("modules.json")
    assert (model.parent / "model.safetensors").exists()


def test_a_step_of_zenml_is_the_launcher_of_a_trainjob(
    kubeconfig: str, shared: Path, document: Build, zen: Callable[..., dict[str, Any]]
) -> None:
    """Two pods train, and what the step leaves in ZenML's store is their model."""
    found = zen(
        document(),
        """
        @pipeline(enable_cache=False)
        def retrain():
            train_embedder(request=request)

        retrain()
        run = last()
        model = run.steps["train_embedder"].outputs["model"][0].load()
        from sentence_transformers import SentenceTransformer
        embedding = SentenceTransformer(os.fspath(model)).encode(["a docstring"])
        result = model.result
        weights = result["weights_sha256"]
        out(**shown(run), weights_sha256=weights, dimension=result["dimension"], shape=list(embedding.shape))
        """,
        KUBECONFIG=kubeconfig,
    )
    assert found["steps"] == {"train_embedder": "completed"}
    assert found["shape"] == [1, found["dimension"]]
    assert (
        found["weights_sha256"]
        == json.loads((shared / "out" / "result.json").read_text())["weights_sha256"]
        is not None
    )
