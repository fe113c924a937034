"""Whether there is anything to train: what serves may be of the same request and the same rows."""

from contextvars import copy_context
from threading import Thread
from typing import Any

from embedstep.errors import CannotStartError, EmbedstepError
from embedstep.planning.plan import Plan
from embedstep.promotion.registry import registry_of
from embedstep.request.schema import TrainRequest
from embedstep.tracking.names import TRAINING_TAG

_PATIENCE = 60.0


def _asked(request: TrainRequest) -> Any:
    """Return the champion, None, or what went wrong.

    A thread asks: a signal is an exception of this one then, which no library that waits for a server swallows.
    """
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(registry_of(request).champion())
        except EmbedstepError as error:
            found.append(error)

    # A thread does not know by itself what the one that starts it knows.
    thread = Thread(target=copy_context().run, args=(ask,), daemon=True)
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
        InvalidRequestError: it refuses, and the request requires it.
    """
    name = request.tracking.register_as
    if not request.skip_if_unchanged or name is None:
        return None, None
    champion = _asked(request)
    if isinstance(champion, EmbedstepError):
        if request.tracking.required:
            raise champion
        return None, f"{champion}; trained without knowing whether anything has changed"
    if champion is None or champion.tags.get(TRAINING_TAG) != plan.trained_from:
        return None, None
    return f"models:/{name}/{champion.number}", None
