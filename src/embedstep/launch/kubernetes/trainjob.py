"""A TrainJob submitted, followed to its end, and told of. What talks to the cluster is in `launch.cluster`.

    check -> submit or adopt -> follow -> result

The pods do all the work, as `kubectl apply` of the manifest would have them do; here it is waited for. A launcher that
is killed and started again finds its job by the name and goes on waiting.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from embedstep.errors import (
    CANNOT_START,
    FAILED,
    INTERRUPTED,
    OK,
    OUT_OF_MEMORY,
    REFUSED,
    CannotStartError,
    InvalidRequestError,
    Problem,
    StepInterruptedError,
)
from embedstep.launch.failures import failure_from_error
from embedstep.launch.kubernetes.cluster import Cluster
from embedstep.launch.kubernetes.manifest import TOLD, build_trainjob, is_job_of
from embedstep.launch.kubernetes.pods import Pod, ended_in
from embedstep.launch.node_status import AttemptEndedError, read_job_result
from embedstep.output.result import Failure, StepResult, result_from_json
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.launch import TrainJob
from embedstep.request.schema import TrainRequest
from embedstep.runtime.process import interrupt, on_signal

_POLL = 2.0
NO_PODS_TIMEOUT = 120.0
"""Seconds after which a job without a pod and without a word has nobody who makes pods of it."""
_STUCK = 60.0
"""Seconds that a pod may be in a state which a person has to mend, such as an image that is not there."""
_SETTLED = 10.0
"""Seconds that a job must stay failed: its conditions are seen to flip while its pods are replaced."""
FAILED_POD_TIMEOUT = 30.0
"""Seconds for a job to fail after a pod of it has failed for good; if it does not, its runtime starts pods again."""
_AWAY = 600.0
_LEFT_BEHIND = 300.0
_ATTEMPTS = 50
_OURS = frozenset({FAILED, REFUSED, CANNOT_START, OUT_OF_MEMORY, INTERRUPTED})


_T = TypeVar("_T")


class GivenUpError(CannotStartError):
    """A job has been too long in a state that leads nowhere; it is deleted."""


def run_trainjob(request: TrainRequest, *, overwrite: bool) -> StepResult:
    """Have a cluster do the work of a request, and say how it ended.

    A job that the cluster no longer tells of, because it does not answer, goes on; the next call finds it.

    Args:
        request: the request, of the kind `trainjob`.
        overwrite: train again where a job of the same request has ended well.

    Raises:
        InvalidRequestError: the cluster does not take the job.
        CannotStartError: the cluster does not answer, lacks something, or does not let us.
    """
    started = time.monotonic()
    job = request.launch.trainjob
    assert job is not None
    cluster = Cluster.connect(job.namespace)
    cluster.check(job.runtime_kind, job.runtime)
    attempts, names = iter(range(1, _ATTEMPTS + 1)), list[str]()
    try:
        with on_signal(interrupt):
            result = _followed(cluster, _submitted(cluster, request, attempts, names, overwrite=overwrite), job)
            if result.failure and result.failure.kind == AttemptEndedError.__name__:
                # The job of an attempt that had failed was deleted, and its name taken again here.
                result = _followed(cluster, _submitted(cluster, request, attempts, names, overwrite=overwrite), job)
        for name in names:
            if message := cluster.mark_reported(name):
                _say(f"{message}; the next run of this request takes TrainJob {name} for its own")
    except (StepInterruptedError, GivenUpError) as error:
        for name in names:
            if message := cluster.delete(name):
                _say(f"TrainJob {name} goes on: {message}")
        result = _failed(job, failure_from_error(error))
    for line in result.failure.traceback if result.failure and result.failure.kind == "pod" else ():
        _say(line.rstrip("\n"))
    seconds = {**result.seconds, "total": round(time.monotonic() - started, 3)}
    return replace(result, request_fingerprint=request_fingerprint(request), seconds=seconds)


def _submitted(
    cluster: Cluster, request: TrainRequest, attempts: Iterator[int], names: list[str], *, overwrite: bool
) -> str:
    """Return the name of the job: one that runs or has ended well is adopted, one that has failed is left behind.

    Args:
        cluster: where.
        request: what.
        attempts: numbers of attempts that are still to be had.
        names: gets the name before the job is there, so that an interruption at any moment finds it.
        overwrite: leave one behind that has ended well, too.
    """
    owner = cluster.owner()
    for attempt in attempts:
        manifest = build_trainjob(request, attempt, overwrite=overwrite)
        name = str(manifest["metadata"]["name"])
        manifest["metadata"] |= {"ownerReferences": [owner]} if owner else {}
        names[:] = [name]
        if cluster.create(manifest):
            _say(f"submitted TrainJob {name} in namespace {cluster.namespace}")
            return name
        there = cluster.settled(name)
        if there is not None and not is_job_of(there, request):
            names.clear()
            message = f"{name} is the name of another job in {cluster.namespace}"
            raise InvalidRequestError([Problem("launch.trainjob", message)])
        condition = ended_in(there or {})
        was_told = there is not None and TOLD in (there["metadata"].get("annotations") or {})
        if there is None or condition == "Failed" or (condition == "Complete" and (overwrite or was_told)):
            continue
        _say(f"found TrainJob {name} in namespace {cluster.namespace}; waiting for it")
        return name
    raise InvalidRequestError(
        [Problem("launch.trainjob", f"{_ATTEMPTS} jobs of this request have failed; delete them")]
    )


def _followed(cluster: Cluster, name: str, job: TrainJob) -> StepResult:
    limits = _Limits(job)
    logs = cluster.logs()
    seen: dict[str, Pod] = {}
    while True:
        state, pods = limits.with_retries(lambda: cluster.look(name))
        if state is None:
            raise CannotStartError(f"TrainJob {name} was deleted by somebody else")
        # Pods of a job that has failed may be gone before it is told.
        seen |= {pod.name: pod for pod in pods}
        logs.follow(pods)
        limits.check(state, pods, cluster, name)
        if limits.has_ended(state, pods):
            logs.finish()
            all_pods = sorted(seen.values(), key=lambda pod: pod.rank)
            last_lines = logs.last(all_pods)
            if not ended_in(state) and (message := cluster.delete(name)):  # the runtime would start it again, and again
                _say(f"TrainJob {name} goes on: {message}")
            left = _left_by_the_first_node(Path(job.output), name, all_pods)
            return _result(ended_in(state) == "Complete", all_pods, left, job, last_lines)
        time.sleep(_POLL)


class _Limits:
    """How long a job may be in a state, each by its own clock."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job
        self._since: dict[str, float] = {}

    def with_retries(self, look: Callable[[], _T]) -> _T:
        """Look at the cluster, again and again while it does not answer.

        Raises:
            CannotStartError: it has not answered for long.
        """
        while True:
            try:
                found = look()
            except CannotStartError:
                if self._lasts("away", holds=True) > _AWAY:
                    raise
                time.sleep(_POLL)
            else:
                self._lasts("away", holds=False)
                return found

    def check(self, state: Mapping[str, Any], pods: list[Pod], cluster: Cluster, name: str) -> None:
        """Raise when the job has been too long in what it is in.

        Raises:
            GivenUpError: nobody makes pods, they find no node, or a person has to mend something.
        """
        if ended_in(state):
            return
        waits_in_a_queue = bool(state["spec"].get("suspend"))
        if self._lasts("nobody", holds=not pods and not waits_in_a_queue) > NO_PODS_TIMEOUT:
            message = (
                cluster.complaint(name) or "nobody makes pods of it; is the controller of Kubeflow Trainer running?"
            )
            raise GivenUpError(f"TrainJob {name} has no pods after {NO_PODS_TIMEOUT:.0f} s: {message}")
        stuck = next((pod for pod in pods if pod.stuck), None)
        if self._lasts("stuck", holds=stuck is not None) > _STUCK and stuck is not None:
            raise GivenUpError(f"pod {stuck.name} cannot start: {stuck.stuck}")
        pending = [pod for pod in pods if pod.phase == "Pending"]
        if self._lasts("pending", holds=bool(pending) or waits_in_a_queue) > 60 * self._job.pending_minutes:
            why = next((pod.unscheduled for pod in pending if pod.unscheduled), "") or cluster.complaint(name)
            message = why or ("it waits in a queue" if waits_in_a_queue else "its pods do not start")
            raise GivenUpError(f"TrainJob {name} still waits after {self._job.pending_minutes:g} minutes: {message}")

    def has_ended(self, state: Mapping[str, Any], pods: list[Pod]) -> bool:
        """Whether the job has ended for good."""
        condition = ended_in(state)
        if condition == "Complete":
            return True
        if self._lasts("in vain", holds=any(map(ended_for_good, pods))) > FAILED_POD_TIMEOUT:
            return True
        is_over = not [pod for pod in pods if pod.phase in ("Pending", "Running")]
        # A pod on a machine that is gone stays Running for as long as nobody looks after it.
        failed, stays = condition == "Failed", _LEFT_BEHIND
        return self._lasts("over", holds=failed and is_over) > _SETTLED or self._lasts("failed", holds=failed) > stays

    def _lasts(self, what: str, *, holds: bool) -> float:
        """Return the seconds for which something has held without a break; 0 where it does not hold."""
        if not holds:
            self._since.pop(what, None)
            return 0.0
        return time.monotonic() - self._since.setdefault(what, time.monotonic())


def _result(
    is_well: bool, pods: Sequence[Pod], left: StepResult | None, job: TrainJob, logs: Mapping[str, str]
) -> StepResult:
    """Return what the first node has left, or what is seen of the pods.

    Args:
        is_well: whether the job has ended well.
        pods: all pods of the job that were seen.
        left: what the first node has left, if anything.
        job: section of the request.
        logs: last lines of a pod's log by its name.
    """
    if left is not None and (left.exit_code == OK) == is_well:
        # The first node knows of the others only that they are gone; what ended them is a better answer.
        causes = [pod for pod in pods if pod.code != OK and pod_exit_code(pod) != INTERRUPTED]
        if left.exit_code != INTERRUPTED or not causes:
            return replace(left, output=job.output)
        return _failed(job, first_cause(causes, logs))
    if is_well:
        message = "the job has ended well, and its first pod has left no result; look into its log"
        return _failed(job, Failure(kind="no_result", message=message, exit_code=FAILED))
    return _failed(job, first_cause(pods, logs))


def _left_by_the_first_node(output: Path, name: str, pods: Sequence[Pod]) -> StepResult | None:
    """Return the first node's result: whole from the shared folder, where that is mounted here, or its last words."""
    said = [pod.termination_message for pod in pods if pod.rank == 0 and pod.termination_message is not None]
    for words in said:
        with suppress(ValueError, TypeError, KeyError):
            result = result_from_json(words)
            is_of_another = result.failure is not None and result.failure.kind == AttemptEndedError.__name__
            return result if is_of_another else read_job_result(output, name) or result
    return read_job_result(output, name)


def first_cause(pods: Sequence[Pod], logs: Mapping[str, str]) -> Failure:
    """Say which pod failed first, and of what.

    Args:
        pods: all pods of the job.
        logs: last lines of a pod's log by its name.
    """
    failed = sorted((pod for pod in pods if pod.code != OK), key=lambda pod: pod.ended_at)
    if not failed:
        return Failure(kind="job", message="the job has failed, and no pod of it", exit_code=FAILED)
    first, *later = failed
    words = (first.termination_message or {}).get("failure") or {}
    said = "; ".join(words.get("problems") or ()) or words.get("message", "")
    message = f"pod {first.name} {first.end}" + (f": {said}" if said else "")
    message += f"; then {', '.join(pod.name for pod in later)}" if later else ""
    lines = tuple(f"{line}\n" for line in logs.get(first.name, "").splitlines())
    return Failure(kind="pod", message=message, exit_code=pod_exit_code(first), traceback=lines)


def pod_exit_code(pod: Pod) -> int:
    """Return the code of the outcome contract for how a pod ended."""
    if pod.reason == "OOMKilled":
        return OUT_OF_MEMORY
    if pod.was_evicted or pod.code in (128 + 15, 128 + 9):
        return INTERRUPTED
    return pod.code if pod.code in _OURS else FAILED


def ended_for_good(pod: Pod) -> bool:
    """Whether a pod has ended in a way that comes again, whoever starts it again."""
    failure = (pod.termination_message or {}).get("failure") or {}
    return pod_exit_code(pod) in (REFUSED, OUT_OF_MEMORY) or failure.get("kind") == AttemptEndedError.__name__


def _failed(job: TrainJob, failure: Failure) -> StepResult:
    return StepResult(exit_code=failure.exit_code, output=job.output, failure=failure)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
