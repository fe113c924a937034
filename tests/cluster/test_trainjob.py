"""`launch.kind: trainjob` on a real API server, scheduler and kubelet: pods of the real image train real data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from embedstep.launch.kubernetes.cluster import Cluster
from embedstep.launch.kubernetes.manifest import build_trainjob
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request
from tests.cluster.conftest import IMAGE
from tests.cluster.trainer import GROUP, VERSION, Controller
from tests.conftest import wait_for
from tests.places import ROOT

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(420), pytest.mark.usefixtures("controller")]

Build = Callable[..., dict[str, Any]]
LONG = {"max_steps": 4000, "save_strategy": "steps", "save_steps": 20, "save_total_limit": 1}


def start(
    shared: Path, request: dict[str, Any], kubeconfig: str, name: str = "request.yaml"
) -> "subprocess.Popen[str]":
    file = shared / name
    file.write_text(yaml.safe_dump(request))
    command = [sys.executable, "-m", "embedstep", "run", str(file)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "KUBECONFIG": kubeconfig},
    )  # fmt: skip


def run(shared: Path, request: dict[str, Any], kubeconfig: str) -> tuple[int, str]:
    process = start(shared, request, kubeconfig)
    try:
        output, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, output


def jobs(api: client.ApiClient, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.CustomObjectsApi(api).list_namespaced_custom_object(
        GROUP, VERSION, namespace, "trainjobs"
    )["items"]
    return found


def pods(api: client.ApiClient, namespace: str) -> list[Any]:
    return list(client.CoreV1Api(api).list_namespaced_pod(namespace).items)


def is_training(shared: Path) -> bool:
    return any((shared / "out" / "checkpoints").glob("checkpoint-*"))


def test_two_pods_train_one_model(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    request = document()
    code, output = run(shared, request, kubeconfig)
    assert code == 0, output
    assert "submitted TrainJob embedstep-" in output
    assert "step 4/4" in output  # the first pod's own words
    result = json.loads((shared / "out" / "result.json").read_text())
    fingerprint = request_fingerprint(load_request(yaml.safe_dump(request)))
    assert result["request_fingerprint"] == fingerprint
    assert result["run_id"]
    assert (shared / "out" / "model" / "modules.json").exists()
    assert json.loads((shared / "out" / "plan.json").read_text())["world_size"] == 2
    (job,) = jobs(api, namespace)
    assert job["metadata"]["name"] == f"embedstep-{fingerprint[:12]}-1"
    assert job["metadata"]["annotations"]["embedstep.dev/reported"] == "true"
    # Once more: other rows may lie there by now, so this is another training, and as anywhere it replaces no model.
    code, output = run(shared, request, kubeconfig)
    assert code == 2, output
    assert "holds a finished model" in output
    assert sorted(job["metadata"]["name"][-2:] for job in jobs(api, namespace)) == ["-1", "-2"]


def test_the_manifest_does_the_same_without_a_step(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    file = shared / "request.yaml"
    file.write_text(yaml.safe_dump(document()))
    printed = subprocess.run(
        [sys.executable, "-m", "embedstep", "manifest", str(file)], capture_output=True, text=True, check=True
    )
    assert yaml.safe_load(printed.stdout) == build_trainjob(load_request(file.read_text()))
    subprocess.run(
        ["kubectl", "--kubeconfig", kubeconfig, "apply", "-f", "-"], input=printed.stdout, text=True, check=True,
        capture_output=True,
    )  # fmt: skip
    wait_for(lambda: (shared / "out" / "result.json").exists())
    assert json.loads((shared / "out" / "result.json").read_text())["outcome"] == "succeeded"


def test_a_pod_that_is_taken_away_ends_all_for_another_attempt(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    request = document(arguments=LONG)
    process = start(shared, request, kubeconfig)
    try:
        wait_for(lambda: is_training(shared))
        client.CoreV1Api(api).delete_namespaced_pod(pods(api, namespace)[1].metadata.name, namespace)
        output, _ = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 75, output


def test_a_launcher_that_was_killed_finds_its_job(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    request = document(arguments={"max_steps": 150, "save_strategy": "steps", "save_steps": 5})
    process = start(shared, request, kubeconfig)
    wait_for(lambda: is_training(shared))
    process.kill()
    process.communicate()
    code, output = run(shared, request, kubeconfig)
    assert code == 0, output
    assert "found TrainJob" in output
    assert len(jobs(api, namespace)) == 1
    assert json.loads((shared / "out" / "result.json").read_text())["train_steps"] == 150


def test_a_cancelled_launcher_deletes_its_job(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    process = start(shared, document(arguments=LONG), kubeconfig)
    wait_for(lambda: is_training(shared))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    wait_for(lambda: not jobs(api, namespace) and not pods(api, namespace))


def test_a_job_that_finds_no_node_is_given_up(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    """With the scheduler's own words."""
    request = document(resources={"nvidia.com/gpu": "8"}, pending_minutes=0.2, arguments={"use_cpu": False})
    code, output = run(shared, {**request, "launch": {**request["launch"], "processes_per_node": 8}}, kubeconfig)
    assert code == 3, output
    assert "Insufficient nvidia.com/gpu" in output
    assert "still waits after 0.2 minutes" in output
    wait_for(lambda: not jobs(api, namespace))


def test_what_keeps_a_pod_from_starting_is_reported(kubeconfig: str, shared: Path, document: Build) -> None:
    """Side by side, because each is given a minute to be repaired."""
    without_image = start(shared, document(image="embedstep:none"), kubeconfig, "image.yaml")
    secrets = {"HF_TOKEN": {"secret": "nobody", "key": "token"}}
    without_secret = start(shared, document(secrets=secrets, output=str(shared / "other")), kubeconfig, "secret.yaml")
    outputs = [process.communicate(timeout=300)[0] for process in (without_image, without_secret)]
    assert (without_image.returncode, without_secret.returncode) == (3, 3), outputs
    assert "cannot start: ErrImagePull" in outputs[0] or "cannot start: ImagePullBackOff" in outputs[0]
    assert 'secret "nobody" not found' in outputs[1]


def test_a_refusal_is_not_tried_again_and_again(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    """A runtime that starts its pods again would hold GPUs for what cannot train."""
    request = document(runtime="torch-restarts")
    for dataset in request["data"]["train"].values():
        dataset["path"] = str(shared / "data" / "nothing.jsonl")
    code, output = run(shared, request, kubeconfig)
    assert code == 2, output
    assert "nothing.jsonl does not exist" in output
    wait_for(lambda: not jobs(api, namespace))
    # The next one takes the name again, whose attempt has ended: it moves to another, and gets the same message.
    code, output = run(shared, request, kubeconfig)
    assert code == 2, output
    assert "-2 in namespace" in output
    assert "nothing.jsonl" in output


def test_a_job_goes_with_what_has_started_it(api: client.ApiClient, namespace: str, document: Build) -> None:
    pod = {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,  # sleep ignores SIGTERM
        "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "600"]}],
    }  # fmt: skip
    batch = client.BatchV1Api(api)
    batch.create_namespaced_job(namespace, {"metadata": {"name": "flow"}, "spec": {"template": {"spec": pod}}})
    wait_for(lambda: bool(pods(api, namespace)))
    cluster = Cluster(api, namespace, this_pod=pods(api, namespace)[0].metadata.name)
    owner = cluster.owner()
    assert owner is not None
    assert (owner["kind"], owner["name"]) == ("Job", "flow")
    manifest = build_trainjob(load_request(yaml.safe_dump(document())))
    assert cluster.create({**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [owner]}})
    batch.delete_namespaced_job("flow", namespace, propagation_policy="Background")
    # A garbage collector, a controller and a kubelet do this one after the other, and each in its own time.
    wait_for(lambda: not jobs(api, namespace) and not pods(api, namespace), 180)


def test_a_quota_is_reported(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    client.CoreV1Api(api).create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}}
    )
    time.sleep(2)
    code, output = run(shared, document(), kubeconfig)
    assert code == 3, output
    assert "exceeded quota: small" in output


def test_without_the_right_to_it_nothing_is_submitted(shared: Path, document: Build) -> None:
    code, output = run(shared, document(), os.environ["EMBEDSTEP_TEST_WEAK_KUBECONFIG"])
    assert code == 3, output
    assert "the cluster does not allow to list TrainJobs" in output


def test_the_rights_of_the_page_are_enough(
    api: client.ApiClient, namespace: str, shared: Path, document: Build
) -> None:
    page = (ROOT / "docs" / "trainjob.md").read_text()
    (rules,) = re.findall(r"```yaml\n(rules:.*?)```", page, re.DOTALL)
    rights = client.RbacAuthorizationV1Api(api)
    rights.create_cluster_role({"metadata": {"name": namespace}, **yaml.safe_load(rules)})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace}
    who = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody"}
    rights.create_cluster_role_binding({"metadata": {"name": namespace}, "roleRef": role, "subjects": [who]})
    try:
        code, output = run(shared, document(nodes=1), os.environ["EMBEDSTEP_TEST_WEAK_KUBECONFIG"])
    finally:
        rights.delete_cluster_role_binding(namespace)
    assert code == 0, output
    assert "step 4/4" in output


def test_a_runtime_that_is_not_there_is_reported_before_anything_is_submitted(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build
) -> None:
    code, output = run(shared, document(runtime="torch-distribute"), kubeconfig)
    assert code == 3, output
    assert "there is no ClusterTrainingRuntime torch-distribute; there are: torch-distributed" in output
    assert not jobs(api, namespace)


def test_a_value_that_the_cluster_refuses_is_reported(kubeconfig: str, shared: Path, document: Build) -> None:
    code, output = run(shared, document(labels={"kueue.x-k8s.io/queue-name": "not a label"}), kubeconfig)
    assert code == 2, output
    assert "the cluster rejects it" in output


def test_a_secret_reaches_the_pods_and_nothing_else(
    api: client.ApiClient, kubeconfig: str, namespace: str, shared: Path, document: Build, controller: Controller
) -> None:
    planted = "hf_PlantedSecretOfTheTest0123"
    client.CoreV1Api(api).create_namespaced_secret(
        namespace, {"metadata": {"name": "hub"}, "stringData": {"token": planted}}
    )
    request = document(secrets={"HF_TOKEN": {"secret": "hub", "key": "token"}})
    request["arguments"]["hub_token"] = {"from_env": "HF_TOKEN"}
    code, output = run(shared, request, kubeconfig)
    assert code == 0, output
    assert planted not in output
    assert planted not in json.dumps(jobs(api, namespace))
    for file in (shared / "out").rglob("*"):
        assert not file.is_file() or planted.encode() not in file.read_bytes(), file


def test_a_plain_job_of_the_image(api: client.ApiClient, namespace: str, shared: Path, evaluated: Build) -> None:
    """A `batch/v1` Job with a secret, a volume and limits."""
    request = evaluated(model=str(shared / "tiny"), arguments={"max_steps": 2, "use_cpu": True})
    for split in ("train", "eval"):
        for dataset in request["data"][split].values():
            dataset["path"] = str(shared / "data" / Path(dataset["path"]).name)
    (shared / "request.yaml").write_text(yaml.safe_dump(request))
    client.CoreV1Api(api).create_namespaced_secret(
        namespace, {"metadata": {"name": "hub"}, "stringData": {"token": "x" * 20}}
    )
    container = {
        "name": "step", "image": IMAGE,
        "args": ["run", str(shared / "request.yaml"), "--output", str(shared / "out")],
        "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}],
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}},
        "volumeMounts": [{"name": "shared", "mountPath": str(shared)}],
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}],
    }  # fmt: skip
    client.BatchV1Api(api).create_namespaced_job(
        namespace, {"metadata": {"name": "plain"}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    )
    wait_for(lambda: (shared / "out" / "result.json").exists())
    assert json.loads((shared / "out" / "result.json").read_text())["outcome"] == "succeeded"


def test_the_pods_of_an_indexed_job_train_one_model(
    api: client.ApiClient, namespace: str, shared: Path, document: Build
) -> None:
    """By the manifest of the page.

    The cluster here is older than indexed Jobs, so the test makes their pods, with the rank and the label that those
    would have. It has no DNS either, so they are in the node's own network.
    """
    request = {**document(), "launch": {"nodes": 2, "processes_per_node": 1}}
    (shared / "request.yaml").write_text(yaml.safe_dump(request))
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    (text,) = re.findall(r"```yaml\n(apiVersion: batch.*?)```", page, re.DOTALL)
    text = text.replace("/shared", str(shared)).replace("docs-0.docs", "127.0.0.1").replace("embedstep:0.1.0", IMAGE)
    core = client.CoreV1Api(api)
    for index in range(2):
        spec = yaml.safe_load(text)["spec"]["template"]["spec"] | {"hostNetwork": True}
        spec["containers"][0]["env"].append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        meta = {"name": f"docs-{index}", "labels": {"controller-uid": "6f1c"}}
        core.create_namespaced_pod(namespace, {"metadata": meta, "spec": spec})

    def ended() -> bool:
        pods = core.list_namespaced_pod(namespace).items
        return [pod.status.phase for pod in pods] == ["Succeeded"] * 2

    wait_for(ended)
    result = json.loads((shared / "docs" / "result.json").read_text())
    assert result["outcome"] == "succeeded"
    assert json.loads((shared / "docs" / "plan.json").read_text())["world_size"] == 2


def test_gpus_are_scheduled_by_count_and_missed_by_the_step(
    api: client.ApiClient, kubeconfig: str, shared: Path, document: Build
) -> None:
    """A node that says it has two GPUs, and has none that a program sees."""
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "2"}]
    core = client.CoreV1Api(api)
    core.patch_node_status("node1", patch)
    try:
        request = document(nodes=1, resources={"nvidia.com/gpu": "2", "memory": "2Gi"}, arguments={"use_cpu": False})
        code, output = run(shared, {**request, "launch": {**request["launch"], "processes_per_node": 2}}, kubeconfig)
    finally:
        core.patch_node_status("node1", [{"op": "remove", "path": "/status/capacity/nvidia.com~1gpu"}])
    assert code == 3, output
    assert "2 GPUs were asked for (EMBEDSTEP_GPUS), and 0 are visible" in output


def test_a_cluster_without_trainer_is_reported(
    api: client.ApiClient, kubeconfig: str, shared: Path, document: Build
) -> None:
    client.ApiextensionsV1Api(api).delete_custom_resource_definition(f"trainjobs.{GROUP}")
    time.sleep(2)
    code, output = run(shared, document(), kubeconfig)
    assert code == 3, output
    assert "the cluster has no TrainJob (trainer.kubeflow.org/v1alpha1); install Kubeflow Trainer v2" in output
