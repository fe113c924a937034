"""A hub with one model, on this machine: no test may reach the real one.

It answers the requests that `huggingface_hub.snapshot_download` makes with the hub's own paths, headers and fields,
and remembers which revisions were asked for.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "1234567890123456789012345678901234567890"


class Hub(ThreadingHTTPServer):
    """The server; `repo` has the revision `revision`, everything else is missing, and `broken` is out of order."""

    def __init__(self, folder: Path, repo: str, revision: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.repo, self.revision = folder, repo, revision
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Its address, as HF_ENDPOINT takes it."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        """Answer with the headers alone."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """Answer with the content."""
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, *, with_body: bool) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append(path)
        if "broken" in path:
            self._send(503, b"", {})
        elif hub.repo not in path:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif path == f"/api/models/{hub.repo}/revision/{hub.revision}":
            files = [{"rfilename": str(file.relative_to(hub.folder))} for file in self._files()]
            self._send(200, json.dumps({"id": hub.repo, "sha": COMMIT, "siblings": files}).encode(), {})
        elif path == f"/api/models/{hub.repo}/tree/{COMMIT}":
            self._send(200, json.dumps([_entry(file, hub.folder) for file in self._files()]).encode(), {})
        elif path.startswith("/api/models/"):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        else:
            content = (hub.folder / path.removeprefix(f"/{hub.repo}/resolve/{COMMIT}/")).read_bytes()
            self._send(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, with_body=with_body)

    def _files(self) -> list[Path]:
        return [file for file in self.server.folder.rglob("*") if file.is_file()]

    def _send(self, code: int, content: bytes, headers: dict[str, str], *, with_body: bool = True) -> None:
        self.send_response(code)
        for name, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)


def _entry(file: Path, folder: Path) -> dict[str, object]:
    """One file as the hub lists it."""
    content = file.read_bytes()
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": str(file.relative_to(folder)), "size": len(content), "oid": oid}


@contextmanager
def serving(folder: Path, repo: str, revision: str) -> Iterator[Hub]:
    """Serve `folder` as the model `repo` at `revision`."""
    hub = Hub(folder, repo, revision)
    Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
