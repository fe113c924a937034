"""A task of a real Airflow as a pod of a real Kubernetes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from mlflow import MlflowClient

from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import read_request
from tests.cluster.conftest import IMAGE
from tests.conftest import wait_for
from tests.orchestration.airflow.running import Airflow

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(420)]

Build = Callable[..., dict[str, Any]]
Task = Callable[..., dict[str, Any]]

_DAG = """
from datetime import timedelta
from airflow.sdk import DAG
from kubernetes.client import V1PersistentVolumeClaimVolumeSource, V1Volume, V1VolumeMount
from embedstep.orchestration.airflow.pods import EmbedstepPodOperator

with DAG("pods", schedule=None) as dag:
    EmbedstepPodOperator(
        task_id="train", component="train_embedder", request=open("{folder}/request.yaml").read(),
        folder="{folder}/{{{{ run_id | replace(':', '-') }}}}", image="{image}", image_pull_policy="Never",
        namespace="{namespace}", in_cluster=False, config_file="{kubeconfig}",
        volumes=[V1Volume(
            name="shared", persistent_volume_claim=V1PersistentVolumeClaimVolumeSource(claim_name="shared")
        )],
        volume_mounts=[V1VolumeMount(name="shared", mount_path="{folder}")],
        retries=2, retry_delay=timedelta(seconds=1), deferrable={deferrable}, poll_interval=1,
    )
"""
_RUN = """
        run = dag_of("pods").test()
        task = run.get_task_instances()[0]
        out(states=states(run), returned=task.xcom_pull(task_ids="train"))
"""


@pytest.fixture
def task(airflow: Airflow, home: Path, kubeconfig: str, namespace: str, shared: Path) -> Task:
    """Train a request in a pod by a DAG of one task, and return what has become of that."""

    def run(request: dict[str, Any], *, deferrable: bool, code: str = _RUN) -> dict[str, Any]:
        (shared / "request.yaml").write_text(yaml.safe_dump(request))
        (home / "dags" / "pods.py").write_text(
            _DAG.format(folder=shared, image=IMAGE, namespace=namespace, kubeconfig=kubeconfig, deferrable=deferrable)
        )
        return airflow(None, code)

    return run


@pytest.fixture
def local(document: Build) -> Build:
    """A request that trains in the pod itself."""

    def build(**sections: Any) -> dict[str, Any]:
        return {**document(nodes=1), "launch": {"kind": "local"}, **sections}

    return build


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_task_trains_in_a_pod_and_the_next_one_is_skipped(
    api: client.ApiClient, namespace: str, shared: Path, local: Build, task: Task, deferrable: bool
) -> None:
    tracking = {"kind": "mlflow", "uri": f"sqlite:///{shared}/mlflow.db", "register_as": "docs"}
    request = local(skip_if_unchanged=True, tracking=tracking)
    first = task(request, deferrable=deferrable)
    assert first["states"] == {"train": ["success", 1]}, first["output"]
    assert first["returned"]["status"] == "trained"
    (folder,) = (path for path in shared.iterdir() if (path / "result").is_file())
    result = json.loads((folder / "result").read_text())
    assert result["request_fingerprint"] == request_fingerprint(read_request(str(shared / "request.yaml")))
    assert (folder / "model" / "modules.json").exists()
    MlflowClient(tracking["uri"]).set_registered_model_alias("docs", "champion", "1")
    second = task(request, deferrable=deferrable)
    assert second["states"]["train"][0] == "skipped"
    wait_for(lambda: client.CoreV1Api(api).list_namespaced_pod(namespace).items == [])


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_refused_request_fails_at_once_in_a_pod(local: Build, task: Task, deferrable: bool) -> None:
    found = task(local(loss="no_such_loss"), deferrable=deferrable)
    assert found["states"] == {"train": ["failed", 1]}
    message = r"refused, and a retry does not help: .*no loss is named 'no_such_loss'.*\(exit code 2\)"
    assert re.search(message, found["output"])
