"""Real MLflow: a database of its own, and a server over HTTP; nothing is replaced."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.tracking.spool import Spool, SpoolFolder, new_spool
from tests.extensions.installed import birdsong

__all__ = ["birdsong"]

Client = Any


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away is away at once, and no test finds a server in the environment."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


def open_client(uri: str) -> Client:
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
