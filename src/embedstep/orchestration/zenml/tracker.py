"""Where a step is recorded when ZenML's MLflow tracker has opened a run for it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zenml import get_step_context
from zenml.client import Client

from embedstep.orchestration.zenml.artifacts import Embedder
from embedstep.tracking.environment import tracking_override

_STEP_TAG = "embedstep.zenml_step"
_MAPPED = "map:"
"""How ZenML calls a part of a mapped step."""
_PARENT = "mlflow.parentRunId"


@contextmanager
def recorded_with_the_step() -> Iterator[None]:
    """Record in the run that the tracker has opened, or below it where other steps record in the same.

    The tracker opens one run for a run of the pipeline unless its settings say `nested`, and MLflow keeps one set of
    parameters in each. Steps may run in threads, and the tracker changes MLflow's address for all of them; so it is
    asked of the tracker itself.
    """
    run = sys.modules["mlflow"].active_run() if "mlflow" in sys.modules else None
    tracker = Client().active_stack.experiment_tracker
    if run is None or tracker is None:
        yield
        return
    uri: str = tracker.get_tracking_uri()
    client = sys.modules["mlflow"].MlflowClient(uri)
    name = get_step_context().step_run.name
    if _is_of_the_step(client, run.info.run_id, name):
        with tracking_override(uri, run.info.run_id):
            yield
        return
    with _run_below(client, run, name) as run_id, tracking_override(uri, run_id):
        yield


def _is_of_the_step(client: Any, run_id: str, name: str) -> bool:
    """Whether the run that is open is the step's own, or no other step records in it."""
    tags = client.get_run(run_id).data.tags
    if _PARENT in tags:
        return True
    if name.startswith(_MAPPED) or tags.get(_STEP_TAG, name) != name:
        return False
    client.set_tag(run_id, _STEP_TAG, name)
    # MLflow has no way to set only what is not set yet; of two that set it at once, the last has it.
    return bool(client.get_run(run_id).data.tags[_STEP_TAG] == name)


@contextmanager
def _run_below(client: Any, run: Any, name: str) -> Iterator[str]:
    """Open a run below another, and end it as the step ends."""
    below = client.create_run(run.info.experiment_id, run_name=name, tags={_PARENT: run.info.run_id}).info.run_id
    status = "FAILED"
    try:
        yield below
        status = "FINISHED"
    finally:
        client.set_terminated(below, status)


@contextmanager
def recorded_like(model: Embedder) -> Iterator[None]:
    """Record where the training of a model is recorded, if it is."""
    uri = model.result.get("tracking_uri")
    if uri is None:
        yield
        return
    with tracking_override(uri):
        yield
