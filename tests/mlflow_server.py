"""A real MLflow server at a free port, with a database and a folder for artifacts of its own.

The database is one of sqlite, or under `make test-postgres` one of PostgreSQL, as teams run it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_START = 90


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run a server that keeps what it gets in `folder`, and give its address when it is up."""
    url = nobody_at()
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", _database(folder),
         "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", url.rpartition(":")[2],
         "--workers", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + _LONGEST_START
        while not _is_up(f"{url}/health"):
            assert time.monotonic() < deadline, f"the server is not up after {_LONGEST_START} seconds"
            time.sleep(0.05)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def _database(folder: Path) -> str:
    """Return the URI of a database that is empty."""
    server = os.environ.get("EMBEDSTEP_TEST_POSTGRES")
    if server is None:
        return f"sqlite:///{folder / 'server.db'}"
    import psycopg2

    name = f"mlflow_{uuid.uuid4().hex}"
    connection = psycopg2.connect(server.replace("+psycopg2", "") + "/postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{server}/{name}"


def nobody_at() -> str:
    """Return an address of this machine at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
