"""A TrainJob submitted, followed to its end, and reported. All calls to the cluster are in `cluster.py`.

    check -> submit or adopt -> follow -> result

The pods do all the work, as after `kubectl apply` of the manifest; this process waits for them. If it is killed and
started again, it finds the job by its name and waits on.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedstep.errors import (
    FAILED,
    INTERRUPTED,
    OK,
    OUT_OF_MEMORY,
    OUTCOMES,
    REFUSED,
    CannotStartError,
    InvalidRequestError,
    Problem,
    StepInterruptedError,
)
from embedstep.launch.failures import failure_from_error
from embedstep.launch.first_node import AttemptEndedError, read_job_result
from embedstep.launch.kubernetes.cluster import Cluster
from embedstep.launch.kubernetes.manifest import REPORTED, build_trainjob, does_work_of
from embedstep.launch.kubernetes.pods import Pod, end_condition
from embedstep.output.result import Failure, StepResult, result_from_json
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.launch import TrainJob
from embedstep.request.schema import TrainRequest
from embedstep.runtime.log import say
from embedstep.runtime.process import interrupt, on_signal

_POLL_SECONDS = 2.0
NO_PODS_TIMEOUT = 120.0
"""Seconds that a job may be without pods; after that no controller seems to run."""
_STUCK_TIMEOUT = 60.0
"""Seconds that a pod may be in a state that somebody has to fix, such as an image that does not exist."""
_FAILED_FOR = 10.0
"""Seconds that a job must stay failed to count as such: its conditions flip while pods are replaced."""
FAILED_POD_TIMEOUT = 30.0
"""Seconds for a job to fail after a permanent failure of a pod; after that its runtime is restarting the pod."""
_NO_ANSWER_TIMEOUT = 600.0
_LOST_POD_TIMEOUT = 300.0
_ATTEMPTS = 50


class GivenUpError(CannotStartError):
    """A job was stuck for too long, and is deleted."""


def run_trainjob(request: TrainRequest, *, overwrite: bool) -> StepResult:
    """Run a request as a TrainJob in a cluster, and return how it ended.

    If the cluster no longer answers, the job continues, and the next call adopts it.

    Args:
        request: the request, with `launch.kind: trainjob`.
        overwrite: train again if a job of the same request has succeeded.

    Raises:
        InvalidRequestError: the cluster rejects the job.
        CannotStartError: the cluster does not answer, denies access, or lacks Trainer or the runtime.
    """
    started = time.monotonic()
    job = request.launch.trainjob
    assert job is not None
    cluster = Cluster.connect(job.namespace)
    cluster.check(job.runtime_kind, job.runtime)
    attempts, submitted = iter(range(1, _ATTEMPTS + 1)), list[str]()
    try:
        with on_signal(interrupt):
            result = _follow(cluster, _submit(cluster, request, attempts, submitted, overwrite=overwrite), job)
            if result.failure and result.failure.kind == AttemptEndedError.__name__:
                # The job of a failed attempt was deleted, so its name was free, but its folder has its end.
                result = _follow(cluster, _submit(cluster, request, attempts, submitted, overwrite=overwrite), job)
        for name in submitted:
            if reason := cluster.mark_reported(name):
                say(f"{reason}; the next run of this request will adopt TrainJob {name}", sys.stdout)
    except (StepInterruptedError, GivenUpError) as error:
        for name in submitted:
            if reason := cluster.delete(name):
                say(f"TrainJob {name} was not deleted: {reason}", sys.stdout)
        result = _failed(job, failure_from_error(error))
    for line in result.failure.traceback if result.failure and result.failure.kind == "pod" else ():
        say(line.rstrip("\n"), sys.stdout)
    seconds = {**result.seconds, "total": round(time.monotonic() - started, 3)}
    return replace(result, request_fingerprint=request_fingerprint(request), seconds=seconds)


def _submit(
    cluster: Cluster, request: TrainRequest, attempts: Iterator[int], submitted: list[str], *, overwrite: bool
) -> str:
    """Submit a job, or adopt one that runs or has succeeded, and return its name; failed ones are skipped.

    Args:
        cluster: the cluster.
        request: the request.
        attempts: numbers of further attempts.
        submitted: gets the name before the job exists, so that an interruption at any moment can delete it.
        overwrite: skip one that has succeeded, too.
    """
    owner = cluster.owner()
    for attempt in attempts:
        manifest = build_trainjob(request, attempt, overwrite=overwrite)
        name = str(manifest["metadata"]["name"])
        manifest["metadata"] |= {"ownerReferences": [owner]} if owner else {}
        submitted[:] = [name]
        if cluster.create(manifest):
            say(f"submitted TrainJob {name} in namespace {cluster.namespace}", sys.stdout)
            return name
        existing = cluster.wait_until_settled(name)
        if existing is not None and not does_work_of(existing, request):
            submitted.clear()
            message = f"{name} is another job in {cluster.namespace}"
            raise InvalidRequestError([Problem("launch.trainjob", message)])
        condition = end_condition(existing or {})
        was_reported = existing is not None and REPORTED in (existing["metadata"].get("annotations") or {})
        if existing is None or condition == "Failed" or (condition == "Complete" and (overwrite or was_reported)):
            continue
        say(f"found TrainJob {name} in namespace {cluster.namespace}; waiting for it", sys.stdout)
        return name
    raise InvalidRequestError(
        [Problem("launch.trainjob", f"{_ATTEMPTS} jobs of this request have failed; delete them")]
    )


def _follow(cluster: Cluster, name: str, job: TrainJob) -> StepResult:
    limits = _Limits(job)
    logs = cluster.logs()
    seen: dict[str, Pod] = {}
    while True:
        state, pods = limits.read(cluster, name)
        if state is None:
            raise CannotStartError(f"TrainJob {name} was deleted by somebody else")
        # The pods of a failed job may be gone before the job is seen to fail.
        seen |= {pod.name: pod for pod in pods}
        logs.follow(pods)
        limits.check(state, pods, cluster, name)
        if limits.has_ended(state, pods):
            logs.finish()
            all_pods = sorted(seen.values(), key=lambda pod: pod.rank)
            last_lines = logs.last(all_pods)
            if not end_condition(state) and (reason := cluster.delete(name)):  # the runtime would restart it for ever
                say(f"TrainJob {name} was not deleted: {reason}", sys.stdout)
            left = _read_first_node(Path(job.output), name, all_pods)
            return _result(end_condition(state) == "Complete", all_pods, left, job, last_lines)
        time.sleep(_POLL_SECONDS)


class _Limits:
    """How long a job may be in each state: one clock per state, which starts when the state does."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job
        self._since: dict[str, float] = {}

    def read(self, cluster: Cluster, name: str) -> tuple[dict[str, Any] | None, list[Pod]]:
        """Read the job and its pods, again while the cluster does not answer.

        Raises:
            CannotStartError: it has not answered for too long.
        """
        while True:
            try:
                found = cluster.get_job_and_pods(name)
            except CannotStartError:
                if self._seconds_in("no answer", holds=True) > _NO_ANSWER_TIMEOUT:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                self._seconds_in("no answer", holds=False)
                return found

    def check(self, state: Mapping[str, Any], pods: list[Pod], cluster: Cluster, name: str) -> None:
        """Give up on a job that is stuck.

        Raises:
            GivenUpError: it has no pods, they find no node, or somebody has to fix something.
        """
        if end_condition(state):
            return
        waits_in_a_queue = bool(state["spec"].get("suspend"))
        if self._seconds_in("no pods", holds=not pods and not waits_in_a_queue) > NO_PODS_TIMEOUT:
            no_warning = "no pods were created; is the Kubeflow Trainer controller running?"
            message = cluster.latest_warning(name) or no_warning
            raise GivenUpError(f"TrainJob {name} has no pods after {NO_PODS_TIMEOUT:.0f} s: {message}")
        stuck = next((pod for pod in pods if pod.stuck), None)
        if self._seconds_in("stuck", holds=stuck is not None) > _STUCK_TIMEOUT and stuck is not None:
            raise GivenUpError(f"pod {stuck.name} cannot start: {stuck.stuck}")
        pending = [pod for pod in pods if pod.phase == "Pending"]
        if self._seconds_in("pending", holds=bool(pending) or waits_in_a_queue) > 60 * self._job.pending_minutes:
            why = next((pod.unscheduled for pod in pending if pod.unscheduled), "") or cluster.latest_warning(name)
            message = why or ("it waits in a queue" if waits_in_a_queue else "its pods do not start")
            raise GivenUpError(f"TrainJob {name} still waits after {self._job.pending_minutes:g} minutes: {message}")

    def has_ended(self, state: Mapping[str, Any], pods: list[Pod]) -> bool:
        """Whether the job has ended and will not be restarted."""
        condition = end_condition(state)
        if condition == "Complete":
            return True
        if self._seconds_in("failed pod", holds=any(map(has_failed_permanently, pods))) > FAILED_POD_TIMEOUT:
            return True
        is_over = not [pod for pod in pods if pod.phase in ("Pending", "Running")]
        # A pod on a lost machine may stay Running for ever.
        failed_for = self._seconds_in("failed", holds=condition == "Failed")
        over_for = self._seconds_in("over", holds=condition == "Failed" and is_over)
        return over_for > _FAILED_FOR or failed_for > _LOST_POD_TIMEOUT

    def _seconds_in(self, state: str, *, holds: bool) -> float:
        """Return the seconds for which a state has lasted; 0 if it does not hold now."""
        if not holds:
            self._since.pop(state, None)
            return 0.0
        return time.monotonic() - self._since.setdefault(state, time.monotonic())


def _result(
    has_succeeded: bool, pods: Sequence[Pod], left: StepResult | None, job: TrainJob, logs: Mapping[str, str]
) -> StepResult:
    """Return the first node's result if it explains the end of the job, else one that is derived from the pods.

    Args:
        has_succeeded: whether the job has succeeded.
        pods: all pods of the job that were seen.
        left: result of the first node, if it has left one.
        job: section of the request.
        logs: last lines of a pod's log by its name.
    """
    if left is not None and (left.exit_code == OK) == has_succeeded:
        # The first node knows only that the others are gone; what ended them explains more.
        causes = [pod for pod in pods if pod.code != OK and pod_exit_code(pod) != INTERRUPTED]
        if left.exit_code != INTERRUPTED or not causes:
            return replace(left, output=job.output)
        return _failed(job, first_cause(causes, logs))
    if has_succeeded:
        message = "the job has succeeded, and its first pod has left no result; see its log"
        return _failed(job, Failure(kind="no_result", message=message, exit_code=FAILED))
    return _failed(job, first_cause(pods, logs))


def _read_first_node(output: Path, name: str, pods: Sequence[Pod]) -> StepResult | None:
    """Return the first node's result: in full from the shared folder, if that is mounted here, else its short form."""
    messages = [pod.termination_message for pod in pods if pod.rank == 0 and pod.termination_message is not None]
    for message in messages:
        with suppress(ValueError, TypeError, KeyError):
            result = result_from_json(message)
            is_of_another = result.failure is not None and result.failure.kind == AttemptEndedError.__name__
            return result if is_of_another else read_job_result(output, name) or result
    return read_job_result(output, name)


def first_cause(pods: Sequence[Pod], logs: Mapping[str, str]) -> Failure:
    """Return which pod failed first, and why.

    Args:
        pods: all pods of the job.
        logs: last lines of a pod's log by its name.
    """
    failed = sorted((pod for pod in pods if pod.code != OK), key=lambda pod: pod.ended_at)
    if not failed:
        return Failure(kind="job", message="the job has failed, and none of its pods", exit_code=FAILED)
    first, *later = failed
    reason = "; ".join(first.failure.get("problems") or ()) or first.failure.get("message", "")
    message = f"pod {first.name} {first.end}" + (f": {reason}" if reason else "")
    message += f"; then {', '.join(pod.name for pod in later)}" if later else ""
    lines = tuple(f"{line}\n" for line in logs.get(first.name, "").splitlines())
    return Failure(kind="pod", message=message, exit_code=pod_exit_code(first), traceback=lines)


def pod_exit_code(pod: Pod) -> int:
    """Return the exit code of the outcome contract for how a pod ended."""
    if pod.reason == "OOMKilled":
        return OUT_OF_MEMORY
    if pod.was_evicted or pod.code in (128 + 15, 128 + 9):
        return INTERRUPTED
    return pod.code if pod.code in OUTCOMES else FAILED


def has_failed_permanently(pod: Pod) -> bool:
    """Whether a pod has failed in a way that a restart would repeat."""
    return pod_exit_code(pod) in (REFUSED, OUT_OF_MEMORY) or pod.failure.get("kind") == AttemptEndedError.__name__


def _failed(job: TrainJob, failure: Failure) -> StepResult:
    return StepResult(exit_code=failure.exit_code, output=job.output, failure=failure)
