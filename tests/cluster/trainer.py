"""A test double of Kubeflow Trainer's controller: its images are not to be had here.

It speaks the official schema (the CRDs are made of the models of `kubeflow_trainer_api`) and does what the controller
does for the torch plugin: one pod a node with the runtime's template, the job's own settings and patches over it, the
variables of torchrun, and the conditions of the job. Unlike the real one it makes the pods itself, without a JobSet.
"""

import copy
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kubernetes import client
from kubernetes.client import ApiException

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"


def runtime(name: str, restart_policy: str) -> dict[str, Any]:
    """A runtime like Trainer's own, whose pods are started again or not."""
    pod = {"restartPolicy": restart_policy, "containers": [{"name": "node", "image": "none"}]}
    return {
        "apiVersion": f"{GROUP}/{VERSION}", "kind": "ClusterTrainingRuntime",
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "torch"}},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"replicatedJobs": [
                {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
            ]}},
        },
    }  # fmt: skip


def crds() -> Iterator[dict[str, Any]]:
    """The definitions of Trainer's resources, as structural schemas."""
    from kubeflow_trainer_api import models  # takes seconds, which collecting other tests need not pay

    for model, kind, plural, scope in (
        (models.TrainerV1alpha1TrainJob, "TrainJob", "trainjobs", "Namespaced"),
        (models.TrainerV1alpha1TrainingRuntime, "TrainingRuntime", "trainingruntimes", "Namespaced"),
        (models.TrainerV1alpha1ClusterTrainingRuntime, "ClusterTrainingRuntime", "clustertrainingruntimes", "Cluster"),
    ):
        schema = model.model_json_schema(by_alias=True)
        root = _structural(schema, schema.get("$defs", {}))
        root["properties"]["metadata"] = {"type": "object"}
        version = {
            "name": VERSION, "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": root},
        }  # fmt: skip
        names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
        yield {
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{GROUP}"},
            "spec": {"group": GROUP, "scope": scope, "names": names, "versions": [version]},
        }  # fmt: skip


ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}


def _structural(schema: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:  # noqa: C901 - one case a form
    """A JSON Schema of pydantic's as Kubernetes takes one: nothing by reference, a type for everything."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.endswith(("ResourceQuantity", "IntOrString")):
            return {"x-kubernetes-int-or-string": True}
        return _structural(known[name], known)
    if len(schema.get("allOf", [])) == 1:
        return _structural(schema["allOf"][0], known)
    if options := [option for option in schema.get("anyOf", []) if option.get("type") != "null"]:
        if len(options) == 1:
            return _structural(options[0], known)
        is_scalar = {option.get("type") for option in options} <= {"integer", "string", "number"}
        return {"x-kubernetes-int-or-string": True} if is_scalar else ANYTHING
    match schema.get("type"):
        case "object" if schema.get("properties"):
            properties = {name: _structural(part, known) for name, part in schema["properties"].items()}
            required = {"required": schema["required"]} if schema.get("required") else {}
            return {"type": "object", "properties": properties, **required}
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return {"type": "object", "additionalProperties": _structural(schema["additionalProperties"], known)}
        case "object":
            return {"type": "object", **ANYTHING}
        case "array":
            return {"type": "array", "items": _structural(schema.get("items", {}), known)}
        case "string" | "integer" | "number" | "boolean" as kind:
            kept = {key: schema[key] for key in ("enum",) if key in schema}
            return {"type": kind, **kept}
    return dict(ANYTHING)


def pod_by(job: dict[str, Any], runtime: dict[str, Any], name: str, rank: int, address: str) -> dict[str, Any]:
    """The pod that the controller makes for one node: the runtime's, with what the job says over it."""
    trainer = job["spec"]["trainer"]
    (template,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    spec = copy.deepcopy(template["template"]["spec"]["template"]["spec"])
    container = next(item for item in spec["containers"] if item["name"] == "node")
    for patch in job["spec"].get("runtimePatches") or []:
        for replicated in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
            changes = replicated["template"]["spec"]["template"]["spec"]
            for item in changes.get("containers", []):
                assert "env" not in item, "Trainer's webhook refuses variables in a patch of this container"
                container |= {key: value for key, value in item.items() if key != "name"}
            spec |= {key: value for key, value in changes.items() if key != "containers"}
    own = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    of_torchrun = {
        "PET_NNODES": str(trainer.get("numNodes", 1)), "PET_NODE_RANK": str(rank),
        "PET_NPROC_PER_NODE": str(trainer.get("numProcPerNode", "auto")),
        "PET_MASTER_ADDR": address or "$(POD_IP)", "PET_MASTER_PORT": "29400",
    }  # fmt: skip
    container |= {key: trainer[key] for key in ("image", "command", "args") if key in trainer}
    container["env"] = [own, *trainer.get("env", []), *({"name": n, "value": v} for n, v in of_torchrun.items())]
    container["resources"] = trainer.get("resourcesPerNode", {})
    container["imagePullPolicy"] = "IfNotPresent"
    spec |= {"automountServiceAccountToken": False}
    return {
        "metadata": {
            "name": name,
            "labels": {
                "jobset.sigs.k8s.io/jobset-name": job["metadata"]["name"],
                "batch.kubernetes.io/job-completion-index": str(rank),
            },
            "ownerReferences": [
                {"apiVersion": job["apiVersion"], "kind": "TrainJob", "name": job["metadata"]["name"],
                 "uid": job["metadata"].get("uid", "of-no-server"), "controller": True, "blockOwnerDeletion": True}
            ],
        },
        "spec": spec,
    }  # fmt: skip


class Controller:
    """Makes pods of TrainJobs and conditions of pods, in all namespaces, until it is stopped."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._core = client.CoreV1Api(api)
        self._objects = client.CustomObjectsApi(api)
        self._stopped = threading.Event()

    @contextmanager
    def running(self) -> Iterator["Controller"]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stopped.wait(0.3):
            # Definitions and namespaces come and go under it.
            with suppress(ApiException):
                for job in self._objects.list_cluster_custom_object(GROUP, VERSION, "trainjobs")["items"]:
                    if not job["metadata"].get("deletionTimestamp") and not (job.get("status") or {}).get("conditions"):
                        self._reconcile_or_warn(job)

    def _reconcile_or_warn(self, job: dict[str, Any]) -> None:
        try:
            self._reconcile(job)
        except ApiException as error:
            if error.status not in (404, 409):
                self._warn(job, str(error.body))
                time.sleep(1)

    def _reconcile(self, job: dict[str, Any]) -> None:
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        runtime = self._objects.get_cluster_custom_object(
            GROUP, VERSION, "clustertrainingruntimes", job["spec"]["runtimeRef"]["name"]
        )
        nodes = job["spec"]["trainer"].get("numNodes", 1)
        there = {
            pod.metadata.name: pod
            for pod in self._core.list_namespaced_pod(
                namespace, label_selector=f"jobset.sigs.k8s.io/jobset-name={name}"
            ).items
        }
        known = job["metadata"]["annotations"].get("double/made") == "true"
        first = there.get(f"{name}-node-0-0")
        for rank in range(nodes):
            pod = f"{name}-node-0-{rank}"
            if pod in there or known:
                continue
            address = "" if rank == 0 else (first.status.pod_ip if first else "")
            if rank and not address:
                return
            self._core.create_namespaced_pod(namespace, pod_by(job, runtime, pod, rank, address or ""))
            there[pod] = self._core.read_namespaced_pod(pod, namespace)
        if not known and len(there) == nodes:
            patch = {"metadata": {"annotations": {"double/made": "true"}}}
            self._objects.patch_namespaced_custom_object(GROUP, VERSION, namespace, "trainjobs", name, patch)
        phases = [pod.status.phase for pod in there.values()]
        if len(phases) == nodes and set(phases) == {"Succeeded"}:
            self._condition(job, "Complete")
        elif "Failed" in phases or (known and len(phases) < nodes):
            self._condition(job, "Failed")

    def _condition(self, job: dict[str, Any], word: str) -> None:
        condition = {
            "type": word, "status": "True", "reason": word, "message": word,
            "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
        self._objects.patch_namespaced_custom_object_status(
            GROUP, VERSION, job["metadata"]["namespace"], "trainjobs", job["metadata"]["name"],
            {"status": {"conditions": [condition]}},
        )  # fmt: skip

    def _warn(self, job: dict[str, Any], message: str) -> None:
        meta = job["metadata"]
        involved = {"kind": "Job", "name": f"{meta['name']}-node-0", "namespace": meta["namespace"]}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._core.create_namespaced_event(
            meta["namespace"],
            {
                "metadata": {"generateName": f"{meta['name']}-"}, "involvedObject": involved, "type": "Warning",
                "reason": "FailedCreate", "message": message, "lastTimestamp": now, "firstTimestamp": now,
            },
        )  # fmt: skip
