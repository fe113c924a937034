"""Recording a step in the run that ZenML's MLflow tracker has opened."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from zenml import get_step_context
from zenml.client import Client

from embedstep.orchestration.zenml.artifacts import Embedder
from embedstep.tracking.environment import tracking_override

_STEP_TAG = "embedstep.zenml_step"
_MAPPED = "map:"
"""Prefix of the name of a part of a mapped step."""
_PARENT = "mlflow.parentRunId"


@contextmanager
def track_in_step_run() -> Iterator[None]:
    """Record in the run that the tracker has opened, or in a child run if other steps record in the same run.

    Unless its settings say `nested`, the tracker opens one run for the whole pipeline, and an MLflow run has one set of
    parameters. The URI comes from the tracker itself, because steps may run in threads that share MLflow's global URI.
    """
    run = sys.modules["mlflow"].active_run() if "mlflow" in sys.modules else None
    tracker = Client().active_stack.experiment_tracker
    if run is None or tracker is None:
        yield
        return
    uri: str = tracker.get_tracking_uri()
    client = sys.modules["mlflow"].MlflowClient(uri)
    name, own = get_step_context().step_run.name, run.info.run_id
    recorded = nullcontext(own) if _belongs_to_step(client, own, name) else _child_run(client, run, name)
    with recorded as run_id, tracking_override(uri, run_id):
        yield


def _belongs_to_step(client: Any, run_id: str, name: str) -> bool:
    """Whether the open run is the step's own, or no other step records in it."""
    tags = client.get_run(run_id).data.tags
    if _PARENT in tags:
        return True
    if name.startswith(_MAPPED) or tags.get(_STEP_TAG, name) != name:
        return False
    client.set_tag(run_id, _STEP_TAG, name)
    # MLflow cannot set a tag only if it is unset. If two steps set it at once, the last one wins.
    return bool(client.get_run(run_id).data.tags[_STEP_TAG] == name)


@contextmanager
def _child_run(client: Any, run: Any, name: str) -> Iterator[str]:
    """Open a child run, and end it with the status of the step."""
    child = client.create_run(run.info.experiment_id, run_name=name, tags={_PARENT: run.info.run_id}).info.run_id
    status = "FAILED"
    try:
        yield child
        status = "FINISHED"
    finally:
        client.set_terminated(child, status)


def track_like_training(model: Embedder) -> AbstractContextManager[None]:
    """Record where the training of a model was recorded, if it was."""
    uri = model.result.get("tracking_uri")
    return nullcontext() if uri is None else tracking_override(uri)
