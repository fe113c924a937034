"""A request as a TrainJob of Kubeflow Trainer, as plain data: it can be printed, compared and applied by hand.

The pods do not depend on the process that submits it: each runs `embedstep node`, which reads the request from its
environment and its rank from the variables of the controller. The API is `trainer.kubeflow.org/v1alpha1`.
"""

import json
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

from embedstep.errors import InvalidRequestError, Problem
from embedstep.launch.kubernetes.volumes import mounted
from embedstep.launch.nodes import JOB, POD
from embedstep.launch.torchrun import processes_per_node, requested_gpus
from embedstep.planning.rules import nothing_is_secret
from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.launch import TrainJob
from embedstep.request.schema import TrainRequest
from embedstep.runtime.devices import ASKED_GPUS, Devices

GROUP, VERSION, KIND = "trainer.kubeflow.org", "v1alpha1", "TrainJob"
REQUEST_VARIABLE = "EMBEDSTEP_REQUEST"
"""Variable that holds the request in the pods, as JSON."""
DIGEST = "embedstep.dev/request"
"""Annotation with the request's fingerprint, by which a job is recognized."""
REPORTED = "embedstep.dev/reported"
"""Annotation of a job whose end was reported; until then, a launcher that is restarted adopts the job."""
_MANAGER = "embedstep.dev/embedstep"
_GRACE_OF_A_POD = 30
"""Seconds that Kubernetes gives a pod to end, by default."""
CONTAINER = "node"
"""The container that trains, as Trainer's own runtimes name it."""
_LONGEST = 100_000
"""Bytes of a request in a variable: Linux allows 128 KiB for one (MAX_ARG_STRLEN, execve(2)), and it is escaped."""


def build_trainjob(request: TrainRequest, attempt: int = 1, *, overwrite: bool = False) -> dict[str, Any]:
    """Return the TrainJob that does the work of a request.

    Args:
        request: the request, with `launch.kind: trainjob`.
        attempt: number of the attempt, from 1; it is part of the name.
        overwrite: let the pods replace a finished step in the output folder.

    Raises:
        InvalidRequestError: the request has another kind, contains a secret, or is too long for a pod's environment.
    """
    job = request.launch.trainjob
    if job is None:
        raise InvalidRequestError(
            [Problem("launch.kind", "is local; a TrainJob is made of a request with kind: trainjob")]
        )
    if problems := list(nothing_is_secret(request)):
        raise InvalidRequestError(problems)  # everybody who may list jobs could read it
    meta: dict[str, Any] = {"name": name_job(request, attempt), "annotations": {DIGEST: request_fingerprint(request)}}
    meta |= {"namespace": job.namespace} if job.namespace else {}
    meta |= {"labels": dict(job.labels)} if job.labels else {}
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": job.runtime_kind, "name": job.runtime},
        "trainer": {
            "image": job.image,
            "command": ["embedstep", "node", *(["--overwrite"] if overwrite else [])],
            "numNodes": request.launch.nodes,
            # This machine does not train, so its devices do not count.
            "numProcPerNode": processes_per_node(request, Devices(gpus=0, cores=1)),
            "env": [*_variables(job, request, meta["name"])],
        },
        "runtimePatches": [{"manager": _MANAGER, "trainingRuntimeSpec": _patch(job, request.launch.grace_seconds)}],
    }
    if job.resources:
        spec["trainer"]["resourcesPerNode"] = {"requests": dict(job.resources), "limits": dict(job.resources)}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": meta, "spec": spec}


def document_for_pods(request: TrainRequest) -> dict[str, Any]:
    """Return a request as plain data that reads back equal, with only the fields that were set."""
    return {**request.model_dump(mode="json", exclude_unset=True), "arguments": to_lossless(request.arguments)}


def name_job(request: TrainRequest, attempt: int) -> str:
    """Return the name of a job, which identifies the request and the attempt."""
    return f"embedstep-{request_fingerprint(request)[:12]}-{attempt}"


def _variables(job: TrainJob, request: TrainRequest, name: str) -> Iterator[dict[str, Any]]:
    text = json.dumps(document_for_pods(request), ensure_ascii=False, separators=(",", ":"))
    if (size := len(text.encode())) > _LONGEST:
        message = f"the request has {size:,} bytes, and a pod's environment takes {_LONGEST:,}; shorten its prompts"
        raise InvalidRequestError([Problem("", message)])
    yield _plain(REQUEST_VARIABLE, text)
    yield _plain(JOB, name)
    yield {"name": POD, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    if gpus := requested_gpus(request.launch):
        yield _plain(ASKED_GPUS, str(gpus))
    yield from (_plain(name, value) for name, value in job.environment.items())
    for name, source in job.secrets.items():
        yield {"name": name, "valueFrom": {"secretKeyRef": {"name": source.secret, "key": source.key}}}


def _plain(name: str, value: str) -> dict[str, str]:
    """Return a variable with its dollars escaped: Kubernetes replaces `$(X)` by the value of X, and `$$` by `$`."""
    return {"name": name, "value": value.replace("$", "$$")}


def _patch(job: TrainJob, grace_seconds: float) -> dict[str, Any]:
    """Return what is added to the pods of the runtime. Trainer's webhook allows no variables here."""
    claims = ((volume.claim, volume.path, volume.read_only) for volume in job.volumes)
    volumes, mounts = mounted(claims, job.shared_memory)
    pod = {
        "containers": [{"name": CONTAINER, "volumeMounts": mounts}],
        "volumes": volumes,
        **({"terminationGracePeriodSeconds": ceil(grace_seconds)} if grace_seconds > _GRACE_OF_A_POD else {}),
        **_scheduling(job),
    }
    template = {"spec": {"template": {"spec": pod}}}
    return {"template": {"spec": {"replicatedJobs": [{"name": CONTAINER, "template": template}]}}}


def _scheduling(job: TrainJob) -> dict[str, Any]:
    tolerations = [_toleration(item.model_dump(exclude_none=True)) for item in job.tolerations]
    given = {
        "nodeSelector": dict(job.node_selector),
        "tolerations": tolerations,
        "serviceAccountName": job.service_account,
        "imagePullSecrets": [{"name": name} for name in job.image_pull_secrets],
    }
    return {name: value for name, value in given.items() if value}


def _toleration(item: Mapping[str, str]) -> dict[str, str]:
    return {**item, "operator": "Equal" if "value" in item else "Exists"}


def does_work_of(job: Mapping[str, Any], request: TrainRequest) -> bool:
    """Whether a job of the cluster was made of this request."""
    return bool((job["metadata"].get("annotations") or {}).get(DIGEST) == request_fingerprint(request))
