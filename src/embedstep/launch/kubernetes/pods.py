"""A TrainJob and its pods as values: their states, exit codes and termination messages."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from embedstep.launch.kubernetes.manifest import CONTAINER

_INDEX = "batch.kubernetes.io/job-completion-index"
"""A label from Kubernetes 1.28 on, and an annotation in every release."""
_STUCK = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError",
     "CreateContainerError", "RunContainerError"}
)  # fmt: skip
"""States of a container that last until somebody fixes the cause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """A pod of a job.

    Attributes:
        name: its name.
        rank: number of its node.
        phase: `Pending`, `Running`, `Succeeded` or `Failed`.
        code: exit code of its container; 0 while it runs, 1 if it failed without one. After a restart by the kubelet,
            that of the previous run.
        restarts: how many times its container was restarted.
        reason: why it ended, in a word, such as `OOMKilled`, `Evicted` or `Error`.
        message: why it ended, in a sentence.
        ended_at: ISO 8601 time of its end; empty while it runs.
        was_evicted: whether the cluster evicted it.
        stuck: why it cannot start, if somebody has to fix the cause.
        unscheduled: why no node was found for it, as the scheduler says.
        termination_message: what its container wrote as such, if that was a JSON object.
    """

    name: str
    rank: int
    phase: str
    code: int = 0
    restarts: int = 0
    reason: str = ""
    message: str = ""
    ended_at: str = ""
    was_evicted: bool = False
    stuck: str = ""
    unscheduled: str = ""
    termination_message: Mapping[str, Any] | None = None

    @property
    def failure(self) -> Mapping[str, Any]:
        """The failure in its termination message, empty if there is none."""
        return (self.termination_message or {}).get("failure") or {}

    @property
    def end(self) -> str:
        """How it ended, to follow the name of the pod in a sentence."""
        if self.was_evicted:
            return f"was evicted by the cluster ({self.reason or 'disruption'}: {self.message or 'no message'})"
        if self.reason == "OOMKilled":
            return "was killed because its memory limit was reached"
        return f"ended with code {self.code}" + (f" ({self.reason})" if self.reason not in ("", "Error") else "")


def trains(data: Mapping[str, Any]) -> bool:
    """Whether a pod of a job trains; a runtime may have others, which fetch data or a model first."""
    return any(item["name"] == CONTAINER for item in data["spec"]["containers"])


def find_owner(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a reference to the owner of a pod, or to the pod itself if it has none."""
    meta = data["metadata"]
    owners = meta.get("ownerReferences") or []
    itself = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    owner = next((item for item in owners if item.get("controller")), itself)
    return {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}


def parse_pod(data: Mapping[str, Any]) -> Pod:
    """Return a pod that trains from its object in the API (`v1.Pod` as plain data)."""
    meta, status = data["metadata"], data.get("status") or {}
    marks = {**(meta.get("annotations") or {}), **(meta.get("labels") or {})}
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    found = [item for item in status.get("containerStatuses") or [] if item["name"] == CONTAINER]
    container = found[0] if found else {}
    state, previous = container.get("state") or {}, container.get("lastState") or {}
    ended = state.get("terminated") or previous.get("terminated") or {}
    waiting = state.get("waiting") or {}
    phase = status.get("phase", "Pending")
    scheduled = conditions.get("PodScheduled", {})
    stuck = waiting.get("reason", "") in _STUCK
    return Pod(
        name=meta["name"],
        rank=int(marks.get(_INDEX, 0)),
        phase=phase,
        code=int(ended.get("exitCode", 1 if phase == "Failed" else 0)),
        restarts=int(container.get("restartCount", 0)),
        reason=ended.get("reason") or status.get("reason") or "",
        message=status.get("message") or "",
        ended_at=str(ended.get("finishedAt") or ""),
        was_evicted="DisruptionTarget" in conditions or status.get("reason") in ("Evicted", "Preempting", "NodeLost"),
        stuck=f"{waiting['reason']}: {waiting.get('message', '')}" if stuck else "",
        unscheduled=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        termination_message=parse_object(ended.get("message")),
    )


def end_condition(job: Mapping[str, Any]) -> str:
    """Return `Complete` or `Failed` for a job that has ended, and an empty text before."""
    conditions = (job.get("status") or {}).get("conditions") or []
    true = {item["type"] for item in conditions if item.get("status") == "True"}
    return next((word for word in ("Complete", "Failed") if word in true), "")


def parse_object(text: str | None) -> Mapping[str, Any] | None:
    """Return the object that a text is in JSON, or None."""
    with suppress(ValueError):
        data = json.loads(text or "")
        return data if isinstance(data, dict) else None
    return None
