"""A double of Kubeflow Pipelines' API for recurring runs: its server is not to be had here.

It speaks the official schema: what it is sent is read by the models of `kfp_server_api`, strictly, and what it answers
is written by them.
"""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api

ROOT = "/apis/v2beta1/"
_MODELS = {"experiments": kfp_server_api.V2beta1Experiment, "recurringruns": kfp_server_api.V2beta1RecurringRun}
_IDS = {"experiments": "experiment_id", "recurringruns": "recurring_run_id"}
_LISTS = {"experiments": "experiments", "recurringruns": "recurringRuns"}


@dataclass
class Kubeflow:
    """What the double has and has been asked.

    Attributes:
        address: where it is.
        things: what is there, by kind and id.
        asked: method and path of each request.
        refuses: status and message with which it answers every POST, or None.
        tokens: authorizations that were sent.
    """

    address: str = ""
    things: dict[str, dict[str, dict[str, Any]]] = field(
        default_factory=lambda: {"experiments": {}, "recurringruns": {}}
    )
    asked: list[str] = field(default_factory=list)
    refuses: tuple[int, str] | None = None
    tokens: set[str] = field(default_factory=set)

    @property
    def recurring_runs(self) -> list[dict[str, Any]]:
        return list(self.things["recurringruns"].values())


def _checked(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Refuse a field that the official model does not have."""
    known = set(_MODELS[kind].attribute_map.values())
    assert set(body) <= known | set(_MODELS[kind].attribute_map), set(body) - known
    return body


@contextmanager
def kubeflow() -> Iterator[Kubeflow]:  # noqa: C901 - one case a request
    state = Kubeflow()

    class Api(BaseHTTPRequestHandler):
        def _answer(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _asked(self) -> tuple[str, dict[str, list[str]]]:
            parts = urlsplit(self.path)
            state.asked.append(f"{self.command} {parts.path.removeprefix(ROOT)}")
            state.tokens.add(self.headers.get("Authorization", ""))
            return parts.path.removeprefix(ROOT), parse_qs(parts.query)

        def do_GET(self) -> None:
            kind, query = self._asked()
            if kind == "healthz":
                return self._answer(200, {"multi_user": False})
            found = list(state.things[kind].values())
            for wanted in json.loads(query.get("filter", ["{}"])[0]).get("predicates", []):
                found = [item for item in found if item["display_name"] == wanted["stringValue"]]
            for experiment in query.get("experiment_id", []):
                found = [item for item in found if item["experiment_id"] == experiment]
            start, size = int(query.get("page_token", ["0"])[0] or 0), int(query.get("page_size", ["1000"])[0])
            following = {"next_page_token": str(start + size)} if start + size < len(found) else {}
            return self._answer(200, {_LISTS[kind]: found[start : start + size], **following})

        def do_POST(self) -> None:
            kind, _ = self._asked()
            body = _checked(kind, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if state.refuses is not None:
                status, message = state.refuses
                return self._answer(status, {"code": 3, "message": message})
            number = str(uuid.uuid4())
            made = {**body, _IDS[kind]: number, **({"status": "ENABLED"} if kind == "recurringruns" else {})}
            state.things[kind][number] = made
            return self._answer(200, made)

        def do_DELETE(self) -> None:
            path, _ = self._asked()
            kind, _, number = path.partition("/")
            del state.things[kind][number]
            return self._answer(200, {})

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output free of requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
