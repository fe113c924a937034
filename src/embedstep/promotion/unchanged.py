"""Whether there is anything to train: what serves may be of the same request and the same rows."""

from importlib import import_module
from os import environ
from threading import Thread
from typing import Any

from embedstep.errors import CannotStartError, EmbedstepError
from embedstep.plan import Plan
from embedstep.request.fingerprint import trained_from
from embedstep.request.schema import TrainRequest
from embedstep.tracking.names import TRAINING_TAG
from embedstep.tracking.sender import tracking_uri

_PATIENCE = 60.0


def _asked(request: TrainRequest, name: str) -> Any:
    """Return the champion, None, or what went wrong.

    A thread asks: a signal is an exception of this one then, which no library that waits for a server swallows.
    """
    found: list[Any] = []

    def ask() -> None:
        try:
            registry = import_module("embedstep.tracking.mlflow_registry").Registry(uri, name)
            found.append(registry.champion())
        except EmbedstepError as error:
            found.append(error)

    uri = tracking_uri(request.tracking, environ)
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return found[0] if found else CannotStartError(f"tracking: the registry has not answered for {_PATIENCE:g} s")


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
    answer = _asked(request, name)
    if isinstance(answer, EmbedstepError):
        if request.tracking.required:
            raise answer
        return None, f"{answer}; trained without knowing whether anything has changed"
    champion = answer
    if champion is None or champion.tags.get(TRAINING_TAG) != trained_from(plan):
        return None, None
    return f"models:/{name}/{champion.number}", None
