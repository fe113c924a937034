"""What a step needs from a cluster, as settings of ZenML's Kubernetes orchestrator and step operator."""

from collections.abc import Mapping
from typing import Any

from embedstep.errors import InvalidRequestError, Problem
from embedstep.launch.kubernetes.volumes import mounted
from embedstep.runtime.devices import ASKED_GPUS

_GPU = "nvidia.com/gpu"


def on_kubernetes(
    *,
    pods: int | None = None,
    gpus: int = 0,
    cpu: str | None = None,
    memory: str | None = None,
    shared_memory: str | None = None,
    claims: Mapping[str, str] | None = None,
    node_selectors: Mapping[str, str] | None = None,
    tolerations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return settings: `train_embedder.with_options(settings=on_kubernetes(gpus=4), secrets=["hub"])`.

    Loader workers pass batches through shared memory, of which a container has 64 MB by default; here it is limited
    only by the memory of the pod. The step checks that it sees the requested number of GPUs. ZenML's own `secrets`
    pass secrets as variables.

    Args:
        pods: pods of ZenML's step operator, more than one for a command step such as `embedstep run` with as many
            `launch.nodes`; None for the orchestrator's own pod.
        gpus: GPUs of each pod.
        cpu: CPU request and limit, such as `8` or `500m`.
        memory: memory request and limit, such as `64Gi`.
        shared_memory: size limit of `/dev/shm`, such as `16Gi`.
        claims: mount path of each PersistentVolumeClaim by its name.
        node_selectors: labels of the nodes.
        tolerations: effect of each tolerated taint by its key.

    Raises:
        InvalidRequestError: the number of GPUs or pods is invalid.
    """
    numbers = (("gpus", gpus, 0), ("pods", 1 if pods is None else pods, 1))
    if problems := [
        Problem(f"on_kubernetes.{name}", f"needs an integer of at least {least}; {number!r} was given")
        for name, number, least in numbers
        if isinstance(number, bool) or not isinstance(number, int) or number < least
    ]:
        raise InvalidRequestError(problems)
    volumes, mounts = mounted(((claim, path, False) for claim, path in (claims or {}).items()), shared_memory)
    asked = {"cpu": cpu, "memory": memory, _GPU: str(gpus) if gpus else None}
    resources = {name: amount for name, amount in asked.items() if amount is not None}
    pod: dict[str, Any] = {
        "volumes": volumes,
        "volume_mounts": mounts,
        "resources": {"requests": resources, "limits": resources},
        "node_selectors": dict(node_selectors or {}),
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": effect} for key, effect in (tolerations or {}).items()
        ],
        "env": [{"name": ASKED_GPUS, "value": str(gpus)}] if gpus else [],
    }
    if pods is None:
        return {"orchestrator.kubernetes": {"pod_settings": pod}}
    return {"step_operator.kubernetes": {"pod_settings": pod, "pod_count": pods}}
