"""A scheduled request as a CronJob of Kubernetes, as plain data: for a cluster without an orchestrator."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from embedstep.errors import InvalidRequestError, Problem
from embedstep.launch.kubernetes.manifest import document_for_pods
from embedstep.launch.kubernetes.volumes import mounted
from embedstep.planning.rules import nothing_is_secret
from embedstep.request.schema import TrainRequest
from embedstep.runtime.devices import ASKED_GPUS

_FOLDER = "/etc/embedstep"
_FILE = "request.json"
_CONTAINER = "step"
_GRACE = 300
"""Seconds that a training may start late with `overlap: skip`; after that it is skipped."""
_RETRIES = 3
_PERMANENT = [2, 4]
"""Exit codes after which a retry would end in the same way: refused, out of memory."""
_LARGEST = 900_000
"""Bytes of a request in a ConfigMap, which can hold 1 MiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PodSettings:
    """Settings of the pods of a CronJob.

    Attributes:
        image: the image.
        output: output folder, on one of the volumes.
        claims: mount path of each PersistentVolumeClaim, by its name.
        secrets: Secret and key of each variable, by its name.
        resources: resources, both as requests and as limits.
        service_account: ServiceAccount of the pods; one that submits a TrainJob needs it.
    """

    image: str
    output: str
    claims: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    service_account: str | None = None


def build_cronjob(request: TrainRequest, name: str, settings: PodSettings) -> list[dict[str, Any]]:
    """Return the ConfigMap with the request, and the CronJob that trains it.

    Args:
        request: a request with a schedule.
        name: name of both.
        settings: settings of the pods.

    Raises:
        InvalidRequestError: the request contains a secret, is too large or for several nodes, or the output folder is
            on no volume.
    """
    assert request.schedule is not None
    problems = list(nothing_is_secret(request))
    if not any(settings.output.startswith(f"{path}/") for path in settings.claims.values()):
        paths = ", ".join(settings.claims.values()) or "none is given"
        problems.append(Problem("--output", f"{settings.output} is not in the folder of a --claim ({paths})"))
    if request.launch.kind == "local" and request.launch.nodes > 1:
        message = f"is {request.launch.nodes}, and a CronJob starts one pod; write 1, or kind: trainjob"
        problems.append(Problem("launch.nodes", message))
    text = json.dumps(document_for_pods(request), ensure_ascii=False, indent=2)
    if (size := len(text.encode())) > _LARGEST:
        problems.append(Problem("", f"the request has {size:,} bytes, and a ConfigMap takes {_LARGEST:,}"))
    if problems:
        raise InvalidRequestError(problems)
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {_FILE: text}},
        {
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name},
            "spec": {
                "schedule": request.schedule.cron, "timeZone": request.schedule.timezone,
                # Never two at once. A late one starts when the previous one ends, unless the deadline has passed.
                "concurrencyPolicy": "Forbid",
                **({"startingDeadlineSeconds": _GRACE} if request.schedule.overlap == "skip" else {}),
                "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 3,
                "jobTemplate": {"spec": _job(name, settings, grace=ceil(request.launch.grace_seconds))},
            },
        },
    ]  # fmt: skip


def _job(name: str, settings: PodSettings, *, grace: int) -> dict[str, Any]:
    refused = {"containerName": _CONTAINER, "operator": "In", "values": _PERMANENT}
    return {
        "backoffLimit": _RETRIES,
        "podFailurePolicy": {"rules": [
            {"action": "FailJob", "onExitCodes": refused},
            # An eviction uses up no retry: the next pod resumes from the checkpoint.
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]},
        "template": {"spec": _pod(name, settings, grace=grace)},
    }  # fmt: skip


def _pod(name: str, settings: PodSettings, *, grace: int) -> dict[str, Any]:
    volumes, mounts = mounted((claim, path, False) for claim, path in settings.claims.items())
    # `/tmp` is a volume because the root file system is read-only.
    volumes += [{"name": "request", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}]
    mounts += [{"name": "request", "mountPath": _FOLDER}, {"name": "tmp", "mountPath": "/tmp"}]
    variables: list[dict[str, Any]] = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for variable, (secret, key) in settings.secrets.items()
    ]
    if gpus := settings.resources.get("nvidia.com/gpu"):
        variables.append({"name": ASKED_GPUS, "value": gpus})
    container: dict[str, Any] = {
        "name": _CONTAINER, "image": settings.image,
        # The existing model serves until the new one is verified.
        "args": ["run", f"{_FOLDER}/{_FILE}", "--output", settings.output, "--overwrite"],
        "env": variables, "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True},
    }  # fmt: skip
    if settings.resources:
        container["resources"] = {"requests": dict(settings.resources), "limits": dict(settings.resources)}
    account = {"serviceAccountName": settings.service_account} if settings.service_account else {}
    return {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": grace,
        "automountServiceAccountToken": bool(settings.service_account), **account,
        "containers": [container], "volumes": volumes,
    }  # fmt: skip
