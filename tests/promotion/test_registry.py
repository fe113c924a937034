"""Which registry a request means."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import CannotStartError
from embedstep.promotion.registry import open_registry
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest

Build = Callable[..., dict[str, Any]]


def asked(request_of: Build, **tracking: str) -> TrainRequest:
    return load_request(json.dumps(request_of(tracking={"kind": "mlflow", "register_as": "docs", **tracking})))


def test_it_is_where_the_request_or_the_environment_records(
    request_of: Build, own_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    MlflowClient(own_uri).create_registered_model("docs")
    version = MlflowClient(own_uri).create_model_version("docs", "s3://models/1")
    MlflowClient(own_uri).set_registered_model_alias("docs", "champion", version.version)
    for tracking, environment in (({"uri": own_uri}, f"sqlite:///{tmp_path}/other.db"), ({}, own_uri)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
        registry = open_registry(asked(request_of, **tracking))
        champion = registry.champion()
        assert (registry.name, champion.number) == ("docs", "1")


def test_one_that_cannot_be_opened_is_worth_another_try(request_of: Build, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path}/file/mlflow.db"
    with pytest.raises(CannotStartError, match=re.escape(f"MLflow at {uri}")):
        open_registry(asked(request_of, uri=uri))
