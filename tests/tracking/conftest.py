"""Real MLflow: a database of its own, and a server over HTTP; nothing is replaced."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedstep.tracking.spool import Spool, SpoolFolder, new_spool
from tests.conftest import wait_for

Client = Any


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database in a folder of its own; making one takes seconds, so the tests share it."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"
    client_of(uri).search_experiments()
    return uri


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that is up."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
         "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port),
         "--workers", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip
    try:
        wait_for(lambda: _is_up(f"http://127.0.0.1:{port}/health"))
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away is away at once, and no test finds a server in the environment."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


@pytest.fixture
def nobody() -> str:
    """The address of a server that is away."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def client_of(uri: str) -> Client:
    """Return MLflow's own client."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


Started = Callable[..., tuple[SpoolFolder, Spool]]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """Start the spool of another attempt in one output folder."""

    def start(**given: Any) -> tuple[SpoolFolder, Spool]:
        folder = new_spool(tmp_path / "output")
        spool = Spool(folder=folder)
        entry: dict[str, Any] = {
            "attempt": f"attempt{folder.number}",
            "uri": "",
            "mode": "own",
            "key": str(tmp_path),
            "run_id": None,
            "experiment": "tests",
            "run_name": None,
            "tags": {},
        }
        spool.add("start", **{**entry, **given})
        return folder, spool

    return start
