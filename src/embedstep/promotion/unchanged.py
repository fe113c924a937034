"""Whether there is anything to train: what serves may be of the same request and the same rows."""

from importlib import import_module
from os import environ

from embedstep.errors import EmbedstepError
from embedstep.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.tracking.names import TRAINING_TAG
from embedstep.tracking.sender import tracking_uri


def champion_of_same(request: TrainRequest, plan: Plan) -> tuple[str | None, str | None]:
    """Return the URI of the champion where it was trained by the same request on the same rows, and what went wrong.

    A registry that does not answer keeps nobody from training, unless the request requires it.

    Args:
        request: has the name of the registered model; one that does not ask gets None.
        plan: its plan.

    Raises:
        CannotStartError: the registry does not answer, and the request requires it.
        RefusedError: it refuses, and the request requires it.
    """
    name = request.tracking.register_as
    if not request.skip_if_unchanged or name is None:
        return None, None
    try:
        registry = import_module("embedstep.tracking.mlflow_registry").Registry(
            tracking_uri(request.tracking, environ), name
        )
        champion = registry.champion()
    except EmbedstepError as error:
        if request.tracking.required:
            raise
        return None, f"{error}; trained without knowing whether anything has changed"
    if champion is None or champion.tags.get(TRAINING_TAG) != plan.training_fingerprint:
        return None, None
    return f"models:/{name}/{champion.number}", None
