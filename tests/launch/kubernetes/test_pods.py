"""Pods as the API server shows them: how they ended, what keeps them, and which was first."""

from typing import Any

import pytest

from embedstep.launch.kubernetes.pods import end_condition, find_owner, parse_pod, trains
from embedstep.launch.kubernetes.trainjob import first_cause, pod_exit_code


def pod(rank: int = 0, *, conditions: list[dict[str, Any]] | None = None, phase: str = "Failed", **state: Any) -> Any:
    """What the API server has of a pod whose container is in a state."""
    status: dict[str, Any] = {"phase": phase, "conditions": conditions or []}
    if state:
        status["containerStatuses"] = [{"name": "node", "state": state}]
    labels = {"batch.kubernetes.io/job-completion-index": str(rank)}
    return parse_pod({"metadata": {"name": f"job-node-0-{rank}", "labels": labels}, "status": status})


def test_the_rank_of_a_pod_before_kubernetes_1_28() -> None:
    annotations = {"batch.kubernetes.io/job-completion-index": "3"}
    assert parse_pod({"metadata": {"name": "job-node-0-3", "annotations": annotations}}).rank == 3


def test_how_a_container_ended_that_runs_again() -> None:
    """A runtime whose pods have restartPolicy OnFailure hides the end of a container behind the next."""
    former = {"terminated": {"exitCode": 2, "reason": "Error", "finishedAt": "2026-11-27T10:00:02Z"}}
    status = {"name": "node", "state": {"running": {}}, "lastState": former, "restartCount": 1}
    found = parse_pod(
        {"metadata": {"name": "job-node-0-0"}, "status": {"phase": "Running", "containerStatuses": [status]}}
    )
    assert (found.restarts, found.code, found.ended_at) == (1, 2, "2026-11-27T10:00:02Z")


def test_pods_that_fetch_something_before_are_left_alone() -> None:
    assert trains({"spec": {"containers": [{"name": "sidecar"}, {"name": "node"}]}})
    assert not trains({"spec": {"containers": [{"name": "dataset-initializer"}]}})


def test_a_job_belongs_to_whatever_has_started_the_pod_that_submits_it() -> None:
    meta = {"name": "retrain-1", "uid": "u1"}
    assert find_owner({"metadata": meta}) == {"apiVersion": "v1", "kind": "Pod", "name": "retrain-1", "uid": "u1"}
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "retrain", "uid": "w1", "controller": True,
        "blockOwnerDeletion": True,
    }  # fmt: skip
    assert find_owner({"metadata": {**meta, "ownerReferences": [workflow]}}) == {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "retrain", "uid": "w1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ({"exitCode": 2, "reason": "Error"}, 2),
        ({"exitCode": 75, "reason": "Error"}, 75),
        ({"exitCode": 137, "reason": "OOMKilled"}, 4),
        ({"exitCode": 137, "reason": "Error"}, 75),
        ({"exitCode": 143, "reason": "Error"}, 75),
        ({"exitCode": 127, "reason": "Error"}, 1),
    ],
)
def test_how_a_container_ended_is_a_code_of_the_contract(ended: dict[str, Any], code: int) -> None:
    assert pod_exit_code(pod(terminated=ended)) == code


def test_a_pod_that_was_taken_away_is_tried_again() -> None:
    taken = pod(conditions=[{"type": "DisruptionTarget", "status": "True"}], terminated={"exitCode": 1})
    assert pod_exit_code(taken) == 75


def test_the_first_pod_that_failed_is_the_cause() -> None:
    pods = [
        pod(0, terminated={"exitCode": 75, "reason": "Error", "finishedAt": "2026-11-27T10:00:09Z"}),
        pod(1, terminated={"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-27T10:00:02Z"}),
        pod(2, phase="Succeeded", terminated={"exitCode": 0, "finishedAt": "2026-11-27T10:00:01Z"}),
    ]
    failure = first_cause(pods, {"job-node-0-1": "loading\nout of words"})
    assert failure.message == ("pod job-node-0-1 was killed because its memory limit was reached; then job-node-0-0")
    assert failure.exit_code == 4
    assert failure.traceback == ("loading\n", "out of words\n")


def test_what_keeps_a_pod_is_reported() -> None:
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    waits = pod(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": message}])
    assert (waits.unscheduled, waits.stuck) == (message, "")
    stuck = pod(phase="Pending", waiting={"reason": "ImagePullBackOff", "message": "no such image"})
    assert stuck.stuck == "ImagePullBackOff: no such image"
    assert pod(phase="Pending", waiting={"reason": "ContainerCreating"}).stuck == ""


def test_last_words_are_read_only_where_they_are_ours() -> None:
    assert pod(terminated={"exitCode": 0, "message": '{"exit_code": 0}'}).termination_message == {"exit_code": 0}
    assert pod(terminated={"exitCode": 0, "message": "[1]"}).termination_message is None
    assert pod(terminated={"exitCode": 1, "message": "Killed"}).termination_message is None


@pytest.mark.parametrize(
    ("conditions", "word"),
    [
        ([], ""),
        ([{"type": "Suspended", "status": "True"}], ""),
        ([{"type": "Complete", "status": "False"}, {"type": "Failed", "status": "True"}], "Failed"),
        ([{"type": "Complete", "status": "True"}], "Complete"),
    ],
)
def test_a_job_has_ended(conditions: list[dict[str, str]], word: str) -> None:
    assert end_condition({"status": {"conditions": conditions}}) == word
    assert end_condition({}) == ""
