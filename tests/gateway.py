"""A way to a real MLflow server that can be slow, closed or forbidden, as networks and their keepers are."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_OF_THE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Gateway:
    """Forwards requests to a server.

    Attributes:
        to: address of the server.
        seconds: how long each request waits.
        status: answer all requests with this status, and forward none.
        code: MLflow's error code that goes with it.
        only: answer so only what has this in its path.
        most_parameters: parameters that a run may have; None for any number.
        closed_after: number of requests after which connections are cut without an answer; None for never.
        garbled: numbers of the requests, from 1, whose answers are no answers.
        paths: what was asked so far.
    """

    to: str
    seconds: float = 0.0
    status: int | None = None
    code: str = "INTERNAL_ERROR"
    only: str = ""
    most_parameters: int | None = None
    closed_after: int | None = None
    garbled: range = range(0)
    paths: list[str] = field(default_factory=list)
    parameters: set[str] = field(default_factory=set)
    url: str = ""

    @contextmanager
    def open(self) -> Iterator["Gateway"]:
        """Serve at a free port."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def passed_on(self, body: bytes) -> bytes:
        """Return what is passed on of an answer."""
        return bytes(byte ^ 0x5A for byte in body) + b"\xff" if len(self.paths) in self.garbled else body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                gateway.paths.append(f"{self.command} {self.path}")
                time.sleep(gateway.seconds)
                if gateway.closed_after is not None and len(gateway.paths) > gateway.closed_after:
                    self.close_connection = True
                    return
                if gateway.status is not None and gateway.only in self.path:
                    text = f'{{"error_code": "{gateway.code}", "message": "the gateway says {gateway.status}"}}'
                    self._answer(gateway.status, {"Content-Type": "application/json"}, text.encode())
                    return
                if gateway.most_parameters is not None and self.path.endswith("/runs/log-batch"):
                    names = {item["key"] for item in json.loads(body).get("params", [])}
                    if len(gateway.parameters | names) > gateway.most_parameters:
                        message = f"a run has {gateway.most_parameters} parameters at most"
                        text = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": message})
                        self._answer(400, {"Content-Type": "application/json"}, text.encode())
                        return
                    gateway.parameters |= names
                there = http.client.HTTPConnection(urlsplit(gateway.to).netloc, timeout=60)
                kept = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_HOP}
                there.request(self.command, self.path, body, {**kept, "Host": urlsplit(gateway.to).netloc})
                answer = there.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), gateway.passed_on(answer.read()))
                there.close()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in _OF_THE_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler
