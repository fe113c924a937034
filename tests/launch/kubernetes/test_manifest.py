"""A request as a TrainJob: validated by the models of Kubeflow Trainer, and strictly as Kubernetes does."""

import json
import re
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api import models

from embedstep.errors import InvalidRequestError
from embedstep.launch.kubernetes.manifest import REQUEST_VARIABLE, build_trainjob, does_work_of
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from tests.cluster.trainer import pod_by, runtime
from tests.places import ROOT

PAGE = (ROOT / "docs" / "trainjob.md").read_text()
Build = Callable[..., dict[str, Any]]
LAUNCH: dict[str, Any] = {
    "kind": "trainjob", "nodes": 4, "grace_seconds": 90,
    "trainjob": {
        "image": "registry.example/embedstep:0.1.0", "output": "/shared/docs", "namespace": "ml",
        "resources": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"},
        "secrets": {"HF_TOKEN": {"secret": "hub", "key": "token"}},
        "environment": {"MLFLOW_TRACKING_URI": "http://mlflow.mlflow:5000"},
        "volumes": [{"claim": "shared", "path": "/shared"}, {"claim": "rows", "path": "/rows", "read_only": True}],
        "shared_memory": "16Gi", "node_selector": {"gpu": "h100"},
        "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
        "labels": {"kueue.x-k8s.io/queue-name": "gpus"}, "service_account": "trainer",
    },
}  # fmt: skip


@pytest.fixture
def request_on_pods(request_of: Build) -> Callable[..., TrainRequest]:
    def build(**of_job: Any) -> TrainRequest:
        launch = {**LAUNCH, "trainjob": {**LAUNCH["trainjob"], **of_job}}
        return load_request(json.dumps(request_of(launch=launch)))

    return build


def test_the_models_of_trainer_take_all_of_it(request_on_pods: Callable[..., TrainRequest]) -> None:
    """They drop unknown fields without a word, so the way back is compared."""
    manifest = build_trainjob(request_on_pods())
    assert models.TrainerV1alpha1TrainJob.from_dict(manifest).to_dict() == manifest


@pytest.mark.parametrize("release", ["1.25", "1.28", "1.30", "1.32", "1.34", "1.37"])
def test_kubernetes_takes_the_pods_of_it(release: str, request_on_pods: Callable[..., TrainRequest]) -> None:
    """Strictly: an unknown field is refused, which an API server may drop without a word."""
    job = build_trainjob(request_on_pods())
    pod = {"apiVersion": "v1", "kind": "Pod", **pod_by(job, runtime("torch-distributed", "Never"), "node", 1, "first")}
    assert kubernetes_validate.validate(pod, release, strict=True) == release
    assert pod["spec"]["terminationGracePeriodSeconds"] == 90
    (container,) = pod["spec"]["containers"]
    container["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="volumeMount"):
        kubernetes_validate.validate(pod, release, strict=True)


def test_the_launch_of_the_page_is_a_job(request_of: Build) -> None:
    launch, _ = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    job = build_trainjob(load_request(json.dumps(request_of(**launch))))
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job
    assert (job["spec"]["trainer"]["numNodes"], job["spec"]["trainer"]["numProcPerNode"]) == (4, 8)


def test_what_the_pods_are_given(request_on_pods: Callable[..., TrainRequest]) -> None:
    request = request_on_pods()
    manifest = build_trainjob(request, attempt=2)
    fingerprint = request_fingerprint(request)
    assert manifest["metadata"] == {
        "name": f"embedstep-{fingerprint[:12]}-2", "namespace": "ml",
        "annotations": {"embedstep.dev/request": fingerprint}, "labels": {"kueue.x-k8s.io/queue-name": "gpus"},
    }  # fmt: skip
    trainer = manifest["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["command"]) == (4, 8, ["embedstep", "node"])
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "8"}
    variables = {item["name"]: item for item in trainer["env"]}
    assert variables["EMBEDSTEP_GPUS"]["value"] == "8"
    assert variables["HF_TOKEN"] == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    (replicated,) = manifest["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "env" not in container  # Trainer's webhook refuses variables in a patch of this container
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert pod["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    assert pod["volumes"][2]["persistentVolumeClaim"] == {"claimName": "rows", "readOnly": True}


def test_a_pod_reads_the_same_request(request_on_pods: Callable[..., TrainRequest], request_of: Build) -> None:
    """One digest on the laptop and in each pod, with a text in it that Kubernetes would replace."""
    document = request_of(launch=LAUNCH, arguments={"prompts": {"anchor": "cost in $(USD), $$: "}})
    request = load_request(yaml.safe_dump(document))
    (text,) = [
        item["value"] for item in build_trainjob(request)["spec"]["trainer"]["env"] if item["name"] == REQUEST_VARIABLE
    ]
    assert "$$(USD), $$$$" in text
    as_a_pod_sees_it = text.replace("$$", "$")
    assert request_fingerprint(load_request(as_a_pod_sees_it)) == request_fingerprint(request)


def test_a_job_is_known_again(request_on_pods: Callable[..., TrainRequest]) -> None:
    request = request_on_pods()
    assert does_work_of(build_trainjob(request), request)
    assert not does_work_of(build_trainjob(request), request_on_pods(image="another"))


@pytest.mark.parametrize(
    ("of_job", "message"),
    [
        (
            {"output": "/elsewhere/docs"},
            "output /elsewhere/docs is not on a writable volume of the pods (/shared)",
        ),
        ({"resources": {"cpu": "two"}}, "launch.trainjob.resources.cpu"),
        ({"secrets": {"HF_TOKEN": "hf_secret"}}, "launch.trainjob.secrets.HF_TOKEN: needs a mapping"),
        ({"environment": {"MLFLOW_TRACKING_PASSWORD": "hunter2hunter2"}}, "PASSWORD is a secret by its name"),
    ],
)
def test_what_cannot_be_is_reported(request_of: Build, of_job: dict[str, Any], message: str) -> None:
    launch = {**LAUNCH, "trainjob": {**LAUNCH["trainjob"], **of_job}}
    with pytest.raises(InvalidRequestError) as caught:
        load_request(json.dumps(request_of(launch=launch)))
    assert message in str(caught.value)
    assert "hf_secret" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_request_that_no_environment_holds_is_reported(request_of: Build) -> None:
    prompts = {f"column_{number}": "p" * 200 for number in range(600)}
    request = load_request(json.dumps(request_of(launch=LAUNCH, arguments={"prompts": prompts})))
    with pytest.raises(InvalidRequestError, match="and a pod's environment takes 100,000"):
        build_trainjob(request)
