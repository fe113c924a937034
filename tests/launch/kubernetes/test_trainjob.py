"""How long a TrainJob may be in a state before it is given up or taken for ended, by a clock that the test turns."""

from typing import Any

import pytest

from embedstep.launch.kubernetes import trainjob
from embedstep.launch.kubernetes.pods import Pod
from embedstep.launch.kubernetes.trainjob import GivenUpError, _Limits
from embedstep.request.launch import TrainJob

JOB = TrainJob(image="embedstep:0.1.0", output="/shared/out", volumes=[{"claim": "shared", "path": "/shared"}])  # type: ignore[list-item]
RUNNING = Pod(name="job-node-0-0", rank=0, phase="Running")
PENDING = Pod(name="job-node-0-0", rank=0, phase="Pending", unscheduled="0/3 nodes are available: 3 Insufficient gpu.")


class Cluster:
    """Says what it has to say about a job."""

    def __init__(self, warning: str = "") -> None:
        self._warning = warning

    def latest_warning(self, name: str) -> str:
        return self._warning


def job(*conditions: str, suspend: bool = False) -> dict[str, Any]:
    return {
        "spec": {"suspend": suspend},
        "status": {"conditions": [{"type": word, "status": "True"} for word in conditions]},
    }


class Clock:
    """Seconds since the test began."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(trainjob, "time", clock)
    return clock


def given_up(
    clock: Clock, cluster: Cluster, state: dict[str, Any], pods: list[Pod], *, until: float
) -> tuple[float, str]:
    """When, and with which words, a job that stays as it is is given up."""
    limits = _Limits(JOB)
    while clock.now <= until:
        try:
            limits.check(state, pods, cluster, "job")  # type: ignore[arg-type]
        except GivenUpError as error:
            return clock.now, str(error)
        clock.now += 2
    return until, ""


def test_a_job_that_nobody_looks_after_is_given_up(clock: Clock) -> None:
    message = "TrainJob job has no pods after 120 s: no pods were created; is the Kubeflow Trainer controller running?"
    assert given_up(clock, Cluster(), job(), [], until=200) == (122, message)


def test_what_the_cluster_says_is_reported(clock: Clock) -> None:
    _, message = given_up(clock, Cluster("exceeded quota: small"), job(), [], until=200)
    assert message == "TrainJob job has no pods after 120 s: exceeded quota: small"


def test_a_job_in_a_queue_has_no_pods_and_may_wait(clock: Clock) -> None:
    when, message = given_up(clock, Cluster(), job(suspend=True), [], until=4000)
    assert (when, message) == (3602, "TrainJob job still waits after 60 minutes: it waits in a queue")


def test_a_pod_that_finds_no_node_is_given_up_in_the_scheduler_s_words(clock: Clock) -> None:
    when, message = given_up(clock, Cluster(), job(), [PENDING], until=4000)
    assert (when, message) == (
        3602, "TrainJob job still waits after 60 minutes: 0/3 nodes are available: 3 Insufficient gpu."
    )  # fmt: skip


def test_a_job_that_trains_may_take_for_ever(clock: Clock) -> None:
    assert given_up(clock, Cluster(), job(), [RUNNING], until=100_000) == (100_000, "")


def test_conditions_that_flip_end_nothing(clock: Clock) -> None:
    """Running, Failed, Running, while its pods are replaced."""
    limits = _Limits(JOB)
    for state, pods in ((job(), [RUNNING]), (job("Failed"), []), (job(), [RUNNING]), (job("Failed"), [])):
        assert not limits.has_ended(state, pods)
        clock.now += 8
    assert limits.has_ended(job("Complete"), [])


def test_a_job_that_stays_failed_has_ended(clock: Clock) -> None:
    limits = _Limits(JOB)
    assert not limits.has_ended(job("Failed"), [])
    clock.now += 12
    assert limits.has_ended(job("Failed"), [])


def test_a_pod_on_a_machine_that_is_gone_is_not_waited_for(clock: Clock) -> None:
    limits = _Limits(JOB)
    assert not limits.has_ended(job("Failed"), [RUNNING])
    clock.now += 60
    assert not limits.has_ended(job("Failed"), [RUNNING])
    clock.now += 300
    assert limits.has_ended(job("Failed"), [RUNNING])


@pytest.mark.parametrize(("code", "ends"), [(2, True), (4, True), (1, False), (3, False), (75, False)])
def test_a_runtime_that_starts_pods_again_in_vain_is_stopped(clock: Clock, code: int, ends: bool) -> None:
    limits = _Limits(JOB)
    again = Pod(name="job-node-0-0", rank=0, phase="Running", code=code, restarts=1)
    limits.has_ended(job(), [again])
    clock.now += 40
    assert limits.has_ended(job(), [again]) == ends
