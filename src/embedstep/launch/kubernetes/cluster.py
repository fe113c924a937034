"""A Kubernetes cluster, by its client: TrainJobs, their pods and events."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client, config
from kubernetes.client import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from embedstep.errors import CannotStartError, EmbedstepError, InvalidRequestError, Problem, first_line
from embedstep.launch.kubernetes.logs import Logs
from embedstep.launch.kubernetes.manifest import GROUP, TOLD, VERSION
from embedstep.launch.kubernetes.pods import Pod, as_json, ended_in, find_owner, parse_pod, trains

_PLURAL = "trainjobs"
_RUNTIMES = {"ClusterTrainingRuntime": "clustertrainingruntimes", "TrainingRuntime": "trainingruntimes"}
_OF_JOB = "jobset.sigs.k8s.io/jobset-name={}"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SECONDS = (10, 60)
"""Time-outs of a request: to connect, and to read."""
_TRIES = 5
_GRACE = 60.0

_T = TypeVar("_T")


class Cluster:
    """One namespace of a cluster."""

    def __init__(self, api: client.ApiClient, namespace: str, *, this_pod: str | None = None) -> None:
        """Take a client; nothing is asked yet.

        Args:
            api: the client.
            namespace: the namespace.
            this_pod: name of the pod that this process runs in, where it runs in one of that namespace.
        """
        self.namespace = namespace
        self._this_pod = this_pod
        self._api = api
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)

    @classmethod
    def connect(cls, namespace: str | None) -> "Cluster":
        """Return the cluster that this pod is in, else that of the kubeconfig.

        Args:
            namespace: the namespace; None for the pod's own, else that of the kubeconfig's context.

        Raises:
            CannotStartError: there is no cluster to be found.
        """
        settings, this_pod = client.Configuration(), None
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
                config.load_incluster_config(client_configuration=settings)
                here = _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"
                # An owner has to be in the namespace of what it owns.
                this_pod = _name_of_this_pod() if namespace in (None, here) else None
            else:
                config.load_kube_config(client_configuration=settings)
                _, context = config.list_kube_config_contexts()
                here = context["context"].get("namespace", "default")
        except ConfigException as error:
            raise CannotStartError(f"launch.kind is trainjob, and no cluster is to be found: {error}") from None
        return cls(client.ApiClient(settings), namespace or here, this_pod=this_pod)

    def owner(self) -> dict[str, Any] | None:
        """Return the reference by which a job goes when whatever has started this process is deleted.

        That is the owner of this pod (a workflow, a Job), which outlives the pod, or the pod itself where it has none.
        """
        if self._this_pod is None:
            return None
        with suppress(CannotStartError):
            name = self._this_pod
            pod = self._ask("read pods", lambda: self._core.read_namespaced_pod(
                name, self.namespace, _request_timeout=_SECONDS
            ))  # fmt: skip
            return find_owner(self._api.sanitize_for_serialization(pod))
        return None  # without the right to read pods the job stays until somebody deletes it

    def check(self, kind: str, runtime: str) -> None:
        """Check that jobs can be made of this runtime, before one is submitted.

        Raises:
            CannotStartError: Trainer or the runtime is not there, or the cluster does not answer or let us.
        """
        try:
            self._ask("list TrainJobs", lambda: self._list(_PLURAL))
        except _MissingError:
            message = (
                f"the cluster knows no TrainJob ({GROUP}/{VERSION}); Kubeflow Trainer v2 has to be installed there"
            )
            raise CannotStartError(message) from None
        try:
            self._ask(f"read {kind} {runtime}", lambda: self._runtime(kind, runtime))
        except _MissingError:
            found = self._ask(f"list {kind}", lambda: self._list(_RUNTIMES[kind]))["items"]
            names = ", ".join(sorted(item["metadata"]["name"] for item in found)) or "none at all"
            raise CannotStartError(f"launch.trainjob.runtime: there is no {kind} {runtime}; there is {names}") from None

    def _runtime(self, kind: str, name: str) -> Any:
        if kind == "ClusterTrainingRuntime":
            return self._objects.get_cluster_custom_object(
                GROUP, VERSION, _RUNTIMES[kind], name, _request_timeout=_SECONDS
            )
        return self._objects.get_namespaced_custom_object(
            GROUP, VERSION, self.namespace, _RUNTIMES[kind], name, _request_timeout=_SECONDS
        )

    def _list(self, plural: str) -> Any:
        if plural == _RUNTIMES["ClusterTrainingRuntime"]:
            return self._objects.list_cluster_custom_object(GROUP, VERSION, plural, _request_timeout=_SECONDS)
        return self._objects.list_namespaced_custom_object(
            GROUP, VERSION, self.namespace, plural, limit=20, _request_timeout=_SECONDS
        )

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Submit a job, and return whether that was needed: False where one has its name.

        Raises:
            InvalidRequestError: the API server takes it for invalid.
            CannotStartError: it does not answer or let us, or there is no such namespace.
        """
        create = self._objects.create_namespaced_custom_object
        where = (GROUP, VERSION, self.namespace, _PLURAL)
        try:
            # Strictly: what a release of Trainer does not know, such as runtimePatches before 2.2, would be dropped.
            self._ask("create TrainJobs", lambda: create(
                *where, manifest, field_validation="Strict", _request_timeout=_SECONDS
            ))  # fmt: skip
        except _ThereAlreadyError:
            return False
        except _MissingError:
            raise CannotStartError(f"launch.trainjob.namespace: there is no namespace {self.namespace}") from None
        return True

    def settled(self, name: str) -> dict[str, Any] | None:
        """Return a job that is there, after it was deleted or its pods have ended, if that is under way."""
        deadline = time.monotonic() + _GRACE
        while True:
            job, pods = self.look(name)
            if job is None:
                return None
            runs = any(pod.phase == "Running" for pod in pods)
            is_leaving = bool(job["metadata"].get("deletionTimestamp"))
            waits = is_leaving or (runs and ended_in(job) == "Failed")
            if not waits or time.monotonic() > deadline:
                return job
            time.sleep(1)

    def job(self, name: str) -> dict[str, Any] | None:
        """Return a job, or None where there is none."""
        args = (GROUP, VERSION, self.namespace, _PLURAL, name)
        try:
            found: dict[str, Any] = self._ask(
                "read TrainJobs", lambda: self._objects.get_namespaced_custom_object(*args, _request_timeout=_SECONDS)
            )
        except _MissingError:
            return None
        return found

    def look(self, name: str) -> tuple[dict[str, Any] | None, list[Pod]]:
        """Return a job and its pods, by their rank."""
        found = self._ask("list pods", lambda: self._core.list_namespaced_pod(
            self.namespace, label_selector=_OF_JOB.format(name), _request_timeout=_SECONDS
        ))  # fmt: skip
        pods = [parse_pod(item) for item in self._api.sanitize_for_serialization(found)["items"] if trains(item)]
        return self.job(name), sorted(pods, key=lambda pod: pod.rank)

    def complaint(self, name: str) -> str:
        """Return the newest warning of the cluster about a job or what was made of it."""
        with suppress(EmbedstepError):
            events = self._ask("list events", lambda: self._core.list_namespaced_event(
                self.namespace, field_selector="type=Warning", _request_timeout=_SECONDS
            ))  # fmt: skip
            about = [item for item in events.items if str(item.involved_object.name).startswith(name)]
            about.sort(key=lambda item: str(item.last_timestamp or item.event_time or ""))
            return str(about[-1].message) if about else ""
        return ""

    def delete(self, name: str) -> str:
        """Delete a job with its pods, and wait a while for these to end: they save where they are.

        Returns:
            Why it could not be deleted, or nothing.
        """
        args = (GROUP, VERSION, self.namespace, _PLURAL, name)
        try:
            self._ask("delete TrainJobs", lambda: self._objects.delete_namespaced_custom_object(
                *args, propagation_policy="Foreground", _request_timeout=_SECONDS
            ))  # fmt: skip
            deadline = time.monotonic() + _GRACE
            while time.monotonic() < deadline and self.look(name)[1]:
                time.sleep(1)
        except _MissingError:
            return ""
        except EmbedstepError as error:
            return str(error)
        return ""

    def mark_reported(self, name: str) -> str:
        """Note on a job that its end was told, so that the next run of the same request is another one.

        Returns:
            Why it could not be noted, or nothing.
        """
        args = (GROUP, VERSION, self.namespace, _PLURAL, name)
        message = {"metadata": {"annotations": {TOLD: "true"}}}
        try:
            self._ask("patch TrainJobs", lambda: self._objects.patch_namespaced_custom_object(
                *args, message, _request_timeout=_SECONDS
            ))  # fmt: skip
        except _MissingError:
            return ""
        except EmbedstepError as error:
            return str(error)
        return ""

    def logs(self) -> Logs:
        """Return what shows the log of a job's first node."""
        return Logs(self._core, self.namespace)

    def _ask(self, what: str, call: Callable[[], _T]) -> _T:
        """Ask the API server, again where it did not answer.

        Raises:
            _MissingError: there is no such thing.
            _ThereAlreadyError: there is one already.
            InvalidRequestError: what was sent is invalid.
            CannotStartError: it did not answer, or does not let us.
        """
        for number in range(_TRIES):
            try:
                return call()
            except ApiException as error:
                if error.status == 404:
                    raise _MissingError(what) from None
                if error.status == 409:
                    raise _ThereAlreadyError(what) from None
                if error.status in (401, 403):
                    message = f"the cluster does not let us {what} in namespace {self.namespace}: {_message(error)}"
                    raise CannotStartError(message) from None
                if error.status in (400, 413, 422):
                    raise InvalidRequestError(
                        [Problem("launch.trainjob", f"the cluster refuses it: {_message(error)}")]
                    ) from None
                reason = _message(error)
            except HTTPError as error:
                reason = first_line(error)
            if number < _TRIES - 1:
                time.sleep(2**number)
        raise CannotStartError(f"the cluster does not answer ({what}): {reason}")


def _name_of_this_pod() -> str | None:
    """Return the name of this pod. Kubeflow tells it; as the host's name it is cut where it is long."""
    return os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME")


class _MissingError(CannotStartError):
    """What was asked for is not there."""


class _ThereAlreadyError(CannotStartError):
    """What was to be made is there."""


def _message(error: ApiException) -> str:
    found = as_json(error.body)
    return str(found["message"]) if found and "message" in found else f"{error.status} {error.reason}"
