"""What a pod mounts, as plain data of Kubernetes."""

from collections.abc import Iterable
from typing import Any

SHARED_MEMORY = "/dev/shm"
"""Data loader workers pass batches through it; a container has 64 MB by default."""

Mounted = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""Volumes of a pod, and where its container mounts them."""


def mounted(claims: Iterable[tuple[str, str, bool]], shared_memory: str | None = None) -> Mounted:
    """Return the volumes of a pod that trains, and their mounts.

    Args:
        claims: name of each PersistentVolumeClaim, its mount path, and whether it is mounted read-only.
        shared_memory: size limit of `/dev/shm`, such as `16Gi`; None for that of the pod's memory.
    """
    memory = {"medium": "Memory"} | ({"sizeLimit": shared_memory} if shared_memory else {})
    volumes: list[dict[str, Any]] = [{"name": "shared-memory", "emptyDir": memory}]
    mounts: list[dict[str, Any]] = [{"name": "shared-memory", "mountPath": SHARED_MEMORY}]
    for number, (claim, path, is_only_read) in enumerate(claims):
        name, read_only = f"volume-{number}", {"readOnly": True} if is_only_read else {}
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": claim, **read_only}})
        mounts.append({"name": name, "mountPath": path, **read_only})
    return volumes, mounts
