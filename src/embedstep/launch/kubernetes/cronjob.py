"""A schedule as a CronJob of Kubernetes, as plain data: for a cluster without an orchestrator."""

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
"""Seconds after its time for which a training may still begin, where one that cannot begin is left out."""
_RETRIES = 3
_FOR_GOOD = [2, 4]
"""Codes of the outcome contract after which another try would end in the same way."""
_LARGEST = 900_000
"""Bytes of a request in a ConfigMap, which takes 1 MiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PodSettings:
    """What the pods of a CronJob get.

    Attributes:
        image: the image.
        output: output folder, on one of the volumes.
        claims: where each PersistentVolumeClaim is mounted, by its name.
        secrets: Secret and key of each variable, by its name.
        resources: resources that are requested and allowed.
        service_account: ServiceAccount of the pods, as the launcher of a TrainJob needs one.
    """

    image: str
    output: str
    claims: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    service_account: str | None = None


def build_cronjob(request: TrainRequest, name: str, around: PodSettings) -> list[dict[str, Any]]:
    """Return the ConfigMap with the request, and the CronJob that trains it.

    Args:
        request: has a schedule.
        name: name of both.
        around: what the pods get.

    Raises:
        InvalidRequestError: a secret stands in the request, it is too large or for many nodes, or the output is on
            no volume.
    """
    assert request.schedule is not None
    problems = list(nothing_is_secret(request))
    if not any(around.output.startswith(f"{path}/") for path in around.claims.values()):
        message = ", ".join(around.claims.values()) or "none is given"
        problems.append(Problem("--output", f"{around.output} is in no folder of a --claim ({message})"))
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
                # Never two at once. One whose time has passed begins when the one before ends, unless a limit says no.
                "concurrencyPolicy": "Forbid",
                **({"startingDeadlineSeconds": _GRACE} if request.schedule.overlap == "skip" else {}),
                "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 3,
                "jobTemplate": {"spec": _job(name, around, grace=ceil(request.launch.grace_seconds))},
            },
        },
    ]  # fmt: skip


def _job(name: str, around: PodSettings, *, grace: int) -> dict[str, Any]:
    refused = {"containerName": _CONTAINER, "operator": "In", "values": _FOR_GOOD}
    return {
        "backoffLimit": _RETRIES,
        "podFailurePolicy": {"rules": [
            {"action": "FailJob", "onExitCodes": refused},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]},
        "template": {"spec": _pod(name, around, grace=grace)},
    }  # fmt: skip


def _pod(name: str, around: PodSettings, *, grace: int) -> dict[str, Any]:
    volumes, mounts = mounted((claim, path, False) for claim, path in around.claims.items())
    volumes += [{"name": "request", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}]
    mounts += [{"name": "request", "mountPath": _FOLDER}, {"name": "tmp", "mountPath": "/tmp"}]
    variables: list[dict[str, Any]] = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for variable, (secret, key) in around.secrets.items()
    ]
    if gpus := around.resources.get("nvidia.com/gpu"):
        variables.append({"name": ASKED_GPUS, "value": gpus})
    container: dict[str, Any] = {
        "name": _CONTAINER, "image": around.image,
        # The model that lies there serves until the new one is verified.
        "args": ["run", f"{_FOLDER}/{_FILE}", "--output", around.output, "--overwrite"],
        "env": variables, "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True},
    }  # fmt: skip
    if around.resources:
        container["resources"] = {"requests": dict(around.resources), "limits": dict(around.resources)}
    account = {"serviceAccountName": around.service_account} if around.service_account else {}
    return {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": grace,
        "automountServiceAccountToken": bool(around.service_account), **account,
        "containers": [container], "volumes": volumes,
    }  # fmt: skip
