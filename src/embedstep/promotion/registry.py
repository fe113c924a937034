"""The model registry of a request. MLflow is imported only when it is opened, which takes seconds."""

from importlib import import_module
from typing import Any

from embedstep.request.schema import TrainRequest
from embedstep.tracking.environment import tracking_environ
from embedstep.tracking.sender import tracking_uri


def open_registry(request: TrainRequest) -> Any:
    """Open the `Registry` of the model that the request registers.

    Raises:
        CannotStartError: MLflow is not installed, or a local database cannot be opened.
    """
    registry = import_module("embedstep.tracking.mlflow_registry").Registry
    return registry(tracking_uri(request.tracking, tracking_environ()), request.tracking.register_as)
