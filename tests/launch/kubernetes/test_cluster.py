"""What the API server answers, as errors of ours: by its official client, on a server that answers as asked."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kubernetes import client

from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.launch.kubernetes import cluster as module
from embedstep.launch.kubernetes.cluster import Cluster

JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs"
RUNTIMES = "/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes"
PODS = "/api/v1/namespaces/ml/pods"
MANIFEST = {"kind": "TrainJob", "metadata": {"name": "docs-1"}}
Answer = tuple[int, dict[str, Any]]


@dataclass
class Api:
    """Answers by method and path.

    Attributes:
        answers: the answers to each, one after the other; the last one stays. Anything else is missing.
        asked: method, path and query of each request.
        bodies: what was sent.
    """

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, address: str, body: bytes) -> Answer:
        parts = urlsplit(address)
        self.asked.append((f"{method} {parts.path}", parse_qs(parts.query)))
        self.bodies += [json.loads(body)] if body else []
        left = self.answers.get(f"{method} {parts.path}", [(404, {"message": "not found"})])
        return left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def cluster(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The namespace `ml` of a server that answers as `api` says; no time passes between two tries."""

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, found = api.answer(self.command, self.path, body)
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_one

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output free of requests."""

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: 0.0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Cluster(client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{server.server_port}")), "ml")
    server.shutdown()
    server.server_close()


def refusal(act: Callable[[], Any], error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        act()
    return str(caught.value)


def test_a_cluster_with_trainer_and_the_runtime_is_accepted(cluster: Cluster, api: Api) -> None:
    api.answers = {f"GET {JOBS}": [(200, {"items": []})], f"GET {RUNTIMES}/torch": [(200, {})]}
    cluster.check("ClusterTrainingRuntime", "torch")
    assert [path for path, _ in api.asked] == [f"GET {JOBS}", f"GET {RUNTIMES}/torch"]


def test_what_a_cluster_lacks_is_named(cluster: Cluster, api: Api) -> None:
    def check() -> None:
        cluster.check("ClusterTrainingRuntime", "torc")

    assert refusal(check, CannotStartError) == (
        "the cluster has no TrainJob (trainer.kubeflow.org/v1alpha1); install Kubeflow Trainer v2 there"
    )
    runtimes = {"items": [{"metadata": {"name": name}} for name in ("torch", "jax")]}
    api.answers = {f"GET {JOBS}": [(200, {"items": []})], f"GET {RUNTIMES}": [(200, runtimes)]}
    assert refusal(check, CannotStartError) == (
        "launch.trainjob.runtime: there is no ClusterTrainingRuntime torc; there are: jax, torch"
    )
    api.answers = {f"GET {JOBS}": [(403, {"message": "trainjobs is forbidden"})]}
    assert refusal(check, CannotStartError) == (
        "the cluster does not allow to list TrainJobs in namespace ml: trainjobs is forbidden"
    )


def test_a_job_is_submitted_strictly_and_once(cluster: Cluster, api: Api) -> None:
    """Otherwise a release of Trainer drops fields that it does not know."""
    api.answers = {f"POST {JOBS}": [(201, MANIFEST), (409, {"message": "already exists"})]}
    assert [cluster.create(MANIFEST), cluster.create(MANIFEST)] == [True, False]
    assert api.asked[0] == (f"POST {JOBS}", {"fieldValidation": ["Strict"]})
    assert api.bodies[0] == MANIFEST


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (404, CannotStartError, "launch.trainjob.namespace: there is no namespace ml"),
        (422, InvalidRequestError, "launch.trainjob: the cluster rejects it: the server says so"),
        (401, CannotStartError,
         "the cluster does not allow to create TrainJobs in namespace ml: the server says so"),
        (500, CannotStartError, "the cluster does not answer (create TrainJobs): the server says so"),
    ],
)  # fmt: skip
def test_why_a_job_is_not_submitted_is_reported(
    cluster: Cluster, api: Api, status: int, error: type[Exception], message: str
) -> None:
    api.answers = {f"POST {JOBS}": [(status, {"message": "the server says so"})]}
    assert refusal(lambda: cluster.create(MANIFEST), error) == message
    assert len(api.asked) == (5 if status == 500 else 1)


def test_a_server_that_is_busy_is_asked_again(cluster: Cluster, api: Api) -> None:
    api.answers = {f"POST {JOBS}": [(503, {}), (429, {}), (201, MANIFEST)]}
    assert cluster.create(MANIFEST)


def test_a_job_has_its_pods_by_rank(cluster: Cluster, api: Api) -> None:
    def pod(rank: int, container: str = "node") -> dict[str, Any]:
        labels = {"batch.kubernetes.io/job-completion-index": str(rank)}
        meta = {"name": f"docs-1-{container}-0-{rank}", "labels": labels}
        return {"metadata": meta, "spec": {"containers": [{"name": container}]}, "status": {"phase": "Running"}}

    found = {"items": [pod(1), pod(0, "dataset-initializer"), pod(0)]}
    api.answers = {f"GET {PODS}": [(200, found)], f"GET {JOBS}/docs-1": [(200, MANIFEST)]}
    job, pods = cluster.get_job_and_pods("docs-1")
    assert (job, [one.name for one in pods]) == (MANIFEST, ["docs-1-node-0-0", "docs-1-node-0-1"])
    assert api.asked[0][1] == {"labelSelector": ["jobset.sigs.k8s.io/jobset-name=docs-1"]}
    assert cluster.get_job("docs-2") is None


def test_the_newest_warning_about_a_job_is_the_latest(cluster: Cluster, api: Api) -> None:
    """Without the right to read events there is none."""
    assert cluster.latest_warning("docs-1") == ""

    def event(name: str, minute: int, message: str) -> dict[str, Any]:
        when = f"2026-11-27T10:{minute:02}:00Z"
        return {
            "metadata": {"name": f"{name}.{minute}"}, "involvedObject": {"name": name}, "lastTimestamp": when,
            "message": message,
        }  # fmt: skip

    events = [event("docs-1-node-0", 9, "quota"), event("docs-1", 5, "older"), event("other", 30, "of another")]
    api.answers = {"GET /api/v1/namespaces/ml/events": [(200, {"items": events})]}
    assert cluster.latest_warning("docs-1") == "quota"


def test_a_job_is_deleted_with_its_pods_and_marked_when_its_end_was_reported(cluster: Cluster, api: Api) -> None:
    """One that is gone is what was asked for."""
    assert (cluster.delete("docs-1"), cluster.mark_reported("docs-1")) == ("", "")
    running = {"metadata": {"name": "docs-1-node-0-0"}, "spec": {"containers": [{"name": "node"}]}, "status": {}}
    api.answers = {
        f"DELETE {JOBS}/docs-1": [(200, {})],
        f"GET {PODS}": [(200, {"items": [running]}), (200, {"items": []})],
        f"PATCH {JOBS}/docs-1": [(403, {"message": "no"})],
    }
    api.asked.clear()
    assert cluster.delete("docs-1") == ""
    assert api.asked[0] == (f"DELETE {JOBS}/docs-1", {"propagationPolicy": ["Foreground"]})
    assert [path for path, _ in api.asked].count(f"GET {PODS}") == 2
    assert cluster.mark_reported("docs-1") == ("the cluster does not allow to patch TrainJobs in namespace ml: no")
    assert api.bodies[-1] == {"metadata": {"annotations": {"embedstep.dev/reported": "true"}}}
