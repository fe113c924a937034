"""TrainJobs, their pods and events in a Kubernetes cluster, by its official client."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from embedstep.errors import CannotStartError, EmbedstepError, InvalidRequestError, Problem, first_line
from embedstep.launch.kubernetes.logs import Logs
from embedstep.launch.kubernetes.manifest import GROUP, REPORTED, VERSION
from embedstep.launch.kubernetes.pods import Pod, end_condition, find_owner, parse_object, parse_pod, trains

_PLURAL = "trainjobs"
_RUNTIMES = {"ClusterTrainingRuntime": "clustertrainingruntimes", "TrainingRuntime": "trainingruntimes"}
_OF_JOB = "jobset.sigs.k8s.io/jobset-name={}"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SECONDS = (10, 60)
"""Timeouts of a call: to connect, and to read."""
_TRIES = 5
_GRACE = 60.0


class Cluster:
    """One namespace of a cluster."""

    def __init__(self, api: client.ApiClient, namespace: str, *, this_pod: str | None = None) -> None:
        """Use a client; this makes no call yet.

        Args:
            api: the client.
            namespace: the namespace.
            this_pod: name of the pod that this process runs in, if that is in the namespace.
        """
        self.namespace = namespace
        self._this_pod = this_pod
        self._api = api
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._jobs = (GROUP, VERSION, namespace, _PLURAL)

    @classmethod
    def connect(cls, namespace: str | None) -> "Cluster":
        """Return the cluster that this pod is in, or outside of pods that of the kubeconfig.

        Args:
            namespace: the namespace; None for that of this pod, or of the kubeconfig's context.

        Raises:
            CannotStartError: no cluster is configured.
        """
        settings, this_pod = client.Configuration(), None
        try:
            # A kubeconfig that somebody has set wins over the account of the pod.
            if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
                config.load_incluster_config(client_configuration=settings)
                here = _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"
                # Owner and owned object must be in the same namespace.
                this_pod = _name_of_this_pod() if namespace in (None, here) else None
            else:
                config.load_kube_config(client_configuration=settings)
                _, context = config.list_kube_config_contexts()
                here = context["context"].get("namespace", "default")
        except ConfigException as error:
            raise CannotStartError(f"launch.kind is trainjob, and no cluster is configured: {error}") from None
        return cls(client.ApiClient(settings), namespace or here, this_pod=this_pod)

    def owner(self) -> dict[str, Any] | None:
        """Return the owner that a job gets, so that the cluster deletes the job with it.

        That is the owner of this pod (a workflow, a Job), which outlives the pod, or the pod itself if it has none.
        """
        if self._this_pod is None:
            return None
        with suppress(CannotStartError):
            pod = self._call("read pods", self._core.read_namespaced_pod, self._this_pod, self.namespace)
            return find_owner(self._api.sanitize_for_serialization(pod))
        return None  # without permission to read pods, somebody has to delete the job

    def check(self, kind: str, runtime: str) -> None:
        """Check that Trainer and the runtime of the job are installed.

        Args:
            kind: `ClusterTrainingRuntime` or `TrainingRuntime`.
            runtime: name of the runtime.

        Raises:
            CannotStartError: one of them is not, or the cluster does not answer or denies access.
        """
        try:
            # One is enough to see that the kind exists and may be listed.
            self._call("list TrainJobs", self._objects.list_namespaced_custom_object, *self._jobs, limit=1)
        except _MissingError:
            message = f"the cluster has no TrainJob ({GROUP}/{VERSION}); install Kubeflow Trainer v2 there"
            raise CannotStartError(message) from None
        objects, plural = self._objects, _RUNTIMES[kind]
        if kind == "ClusterTrainingRuntime":
            where: tuple[str, ...] = (GROUP, VERSION, plural)
            read, list_all = objects.get_cluster_custom_object, objects.list_cluster_custom_object
        else:
            where = (GROUP, VERSION, self.namespace, plural)
            read, list_all = objects.get_namespaced_custom_object, objects.list_namespaced_custom_object
        try:
            self._call(f"read {kind} {runtime}", read, *where, runtime)
        except _MissingError:
            found = self._call(f"list {kind}", list_all, *where)["items"]
            names = ", ".join(sorted(item["metadata"]["name"] for item in found)) or "none"
            raise CannotStartError(
                f"launch.trainjob.runtime: there is no {kind} {runtime}; there are: {names}"
            ) from None

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Submit a job; return False if there is one with its name.

        Raises:
            InvalidRequestError: the API server rejects the job as invalid.
            CannotStartError: the server does not answer or denies access, or there is no such namespace.
        """
        create = self._objects.create_namespaced_custom_object
        try:
            # Otherwise fields that a release of Trainer does not know, such as runtimePatches before 2.2, are dropped.
            self._call("create TrainJobs", create, *self._jobs, manifest, field_validation="Strict")
        except _ExistsError:
            return False
        except _MissingError:
            raise CannotStartError(f"launch.trainjob.namespace: there is no namespace {self.namespace}") from None
        return True

    def wait_until_settled(self, name: str) -> dict[str, Any] | None:
        """Return a job by its name, after waiting for its deletion, or for the end of its pods if it has failed."""
        deadline = time.monotonic() + _GRACE
        while True:
            job, pods = self.get_job_and_pods(name)
            if job is None:
                return None
            runs = any(pod.phase == "Running" for pod in pods)
            is_deleted = bool(job["metadata"].get("deletionTimestamp"))
            waits = is_deleted or (runs and end_condition(job) == "Failed")
            if not waits or time.monotonic() > deadline:
                return job
            time.sleep(1)

    def get_job(self, name: str) -> dict[str, Any] | None:
        """Return a job, or None if there is none."""
        with suppress(_MissingError):
            read = self._objects.get_namespaced_custom_object
            found: dict[str, Any] = self._call("read TrainJobs", read, *self._jobs, name)
            return found
        return None

    def get_job_and_pods(self, name: str) -> tuple[dict[str, Any] | None, list[Pod]]:
        """Return a job (None if there is none) and its pods, sorted by rank."""
        of_job = _OF_JOB.format(name)
        found = self._call("list pods", self._core.list_namespaced_pod, self.namespace, label_selector=of_job)
        pods = [parse_pod(item) for item in self._api.sanitize_for_serialization(found)["items"] if trains(item)]
        return self.get_job(name), sorted(pods, key=lambda pod: pod.rank)

    def latest_warning(self, name: str) -> str:
        """Return the newest warning event about a job or its objects; empty if there is none."""
        with suppress(EmbedstepError):
            list_events = self._core.list_namespaced_event
            events = self._call("list events", list_events, self.namespace, field_selector="type=Warning")
            about = [item for item in events.items if str(item.involved_object.name).startswith(name)]
            about.sort(key=lambda item: str(item.last_timestamp or item.event_time or ""))
            return str(about[-1].message) if about else ""
        return ""

    def delete(self, name: str) -> str:
        """Delete a job with its pods, and wait for these to save a checkpoint and end.

        Returns:
            Why it could not be deleted; empty if it was.
        """

        def delete_and_wait() -> None:
            delete = self._objects.delete_namespaced_custom_object
            self._call("delete TrainJobs", delete, *self._jobs, name, propagation_policy="Foreground")
            deadline = time.monotonic() + _GRACE
            while time.monotonic() < deadline and self.get_job_and_pods(name)[1]:
                time.sleep(1)

        return _reason_for_failure(delete_and_wait)

    def mark_reported(self, name: str) -> str:
        """Annotate a job whose end was reported, so that the next run of the same request starts a new one.

        Returns:
            Why that was not possible; empty if it was.
        """
        annotation = {"metadata": {"annotations": {REPORTED: "true"}}}
        patch = self._objects.patch_namespaced_custom_object
        return _reason_for_failure(lambda: self._call("patch TrainJobs", patch, *self._jobs, name, annotation))

    def logs(self) -> Logs:
        """Return the logs of this namespace's pods, to be followed."""
        return Logs(self._core, self.namespace)

    def _call(self, what: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the API server, again if it does not answer.

        Args:
            what: what the call does, to follow `does not allow to`.
            call: method of the client.
            arguments: arguments of the method.
            options: options of the method.

        Raises:
            _MissingError: the object does not exist.
            _ExistsError: the object exists already.
            InvalidRequestError: the server rejects what was sent as invalid.
            CannotStartError: the server does not answer, or denies access.
        """
        for number in range(_TRIES):
            try:
                return call(*arguments, **options, _request_timeout=_SECONDS)
            except ApiException as error:
                if error.status == 404:
                    raise _MissingError(what) from None
                if error.status == 409:
                    raise _ExistsError(what) from None
                if error.status in (401, 403):
                    message = f"the cluster does not allow to {what} in namespace {self.namespace}: {_message(error)}"
                    raise CannotStartError(message) from None
                if error.status in (400, 413, 422):
                    raise InvalidRequestError(
                        [Problem("launch.trainjob", f"the cluster rejects it: {_message(error)}")]
                    ) from None
                reason = _message(error)
            except HTTPError as error:
                reason = first_line(error)
            if number < _TRIES - 1:
                time.sleep(2**number)
        raise CannotStartError(f"the cluster does not answer ({what}): {reason}")


def _name_of_this_pod() -> str | None:
    """Return the name of this pod: as Kubeflow sets it, or the host name, which is cut if it is long."""
    return os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME")


class _MissingError(CannotStartError):
    """The object does not exist."""


class _ExistsError(CannotStartError):
    """The object exists already."""


def _reason_for_failure(act: Callable[[], None]) -> str:
    """Do something to a job that may be gone, and return why it failed; empty if it did not."""
    try:
        act()
    except _MissingError:
        return ""
    except EmbedstepError as error:
        return str(error)
    return ""


def _message(error: ApiException) -> str:
    found = parse_object(error.body)
    return str(found["message"]) if found and "message" in found else f"{error.status} {error.reason}"
