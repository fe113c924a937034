"""A real Kubernetes, which `.ci/kubernetes` starts, with Trainer's resources and a double of its controller."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client import ApiException

from embedstep import __version__
from tests.cluster.trainer import GROUP, VERSION, Controller, crds, runtime
from tests.conftest import wait_for
from tests.orchestration.airflow.running import airflow, home, python
from tests.orchestration.running import zen, zenml_home

__all__ = ["airflow", "home", "python", "zen", "zenml_home"]
IMAGE = os.environ.get("EMBEDSTEP_TEST_IMAGE", f"embedstep:{__version__}")


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    found = os.environ.get("EMBEDSTEP_TEST_KUBECONFIG")
    assert found, "EMBEDSTEP_TEST_KUBECONFIG names no kubeconfig; `make test-kubernetes` starts a cluster and sets it"
    return found


@pytest.fixture(scope="session")
def api(kubeconfig: str) -> client.ApiClient:
    return config.new_client_from_config(kubeconfig)


@pytest.fixture(scope="session")
def controller(api: client.ApiClient) -> Iterator[Controller]:
    extensions = client.ApiextensionsV1Api(api)
    for crd in crds():
        extensions.create_custom_resource_definition(crd)

    def is_there() -> bool:
        found = extensions.list_custom_resource_definition().items
        accepted = [
            condition.type == "Established" and condition.status == "True"
            for item in found
            for condition in item.status.conditions or []
        ]
        return accepted.count(True) == 3

    wait_for(is_there)
    objects = client.CustomObjectsApi(api)
    for name, restarts in (("torch-distributed", "Never"), ("torch-restarts", "OnFailure")):
        objects.create_cluster_custom_object(GROUP, VERSION, "clustertrainingruntimes", runtime(name, restarts))
    with Controller(api).running() as running:
        yield running


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": name}})
    yield name
    with suppress(ApiException):
        core.delete_namespace(name)


@pytest.fixture
def shared(api: client.ApiClient, namespace: str, data_folder: Path, tiny_model: Path) -> Iterator[Path]:
    """A folder of this machine that is the claim `shared` in the namespace, with data and a model in it."""
    folder = Path(tempfile.mkdtemp(prefix="embedstep-shared-"))
    shutil.copytree(data_folder, folder / "data")
    shutil.copytree(tiny_model, folder / "tiny")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    folder.chmod(0o777)
    core = client.CoreV1Api(api)
    storage = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": ""}
    core.create_persistent_volume(
        {"metadata": {"name": namespace}, "spec": {**storage, "hostPath": {"path": str(folder)}}}
    )
    core.create_namespaced_persistent_volume_claim(
        namespace,
        {
            "metadata": {"name": "shared"},
            "spec": {
                "volumeName": namespace, "storageClassName": "", "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    )  # fmt: skip
    wait_for(lambda: core.read_namespaced_persistent_volume_claim("shared", namespace).status.phase == "Bound")
    yield folder
    core.delete_persistent_volume(namespace)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def document(evaluated: Callable[..., dict[str, Any]], shared: Path, namespace: str) -> Callable[..., dict[str, Any]]:
    """A request for two pods; keyword arguments go to `launch.trainjob`, `arguments` to the arguments."""

    def build(*, arguments: dict[str, Any] | None = None, nodes: int = 2, **of_job: Any) -> dict[str, Any]:
        job = {
            "image": IMAGE, "namespace": namespace, "output": str(shared / "out"),
            "volumes": [{"claim": "shared", "path": str(shared)}], "resources": {"memory": "2Gi"},
            **of_job,
        }  # fmt: skip
        found = evaluated(
            model=str(shared / "tiny"),
            arguments={"max_steps": 4, "use_cpu": True, "per_device_train_batch_size": 8, **(arguments or {})},
            launch={"kind": "trainjob", "nodes": nodes, "processes_per_node": 1, "trainjob": job},
            tracking={"kind": "mlflow", "uri": f"sqlite:///{shared}/mlflow.db"},
        )
        for split in ("train", "eval"):
            for dataset in found["data"][split].values():
                dataset["path"] = str(shared / "data" / Path(dataset["path"]).name)
        return found

    return build
