"""Whether there is anything to train: the champion may have been trained from the same request and rows."""

from contextvars import copy_context
from threading import Thread
from typing import Any

from embedstep.errors import CannotStartError, EmbedstepError
from embedstep.planning.plan import Plan
from embedstep.promotion.registry import open_registry
from embedstep.request.schema import TrainRequest
from embedstep.tracking.names import TRAINING_TAG

_TIMEOUT = 60.0


def _ask_champion(request: TrainRequest) -> Any:
    """Return the champion, None, or the error.

    The registry is asked in a thread, so that a signal raises in this one, where no HTTP library can swallow it.
    """
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(open_registry(request).champion())
        except EmbedstepError as error:
            found.append(error)

    # A new thread does not inherit context variables, and `tracking_override` is one.
    thread = Thread(target=copy_context().run, args=(ask,), daemon=True)
    thread.start()
    thread.join(_TIMEOUT)
    return found[0] if found else CannotStartError(f"tracking: the registry has not answered for {_TIMEOUT:g} s")


def find_unchanged_champion(request: TrainRequest, plan: Plan) -> tuple[str | None, str | None]:
    """Return the URI of a champion trained from the same request and rows, and a message if that is unknown.

    A registry that does not answer prevents training only if the request requires it.

    Args:
        request: names the registered model; without `skip_if_unchanged` the registry is not asked.
        plan: plan of the request.

    Raises:
        CannotStartError: the registry does not answer, and the request requires it.
        InvalidRequestError: the registry refuses, and the request requires it.
    """
    name = request.tracking.register_as
    if not request.skip_if_unchanged or name is None:
        return None, None
    champion = _ask_champion(request)
    if isinstance(champion, EmbedstepError):
        if request.tracking.required:
            raise champion
        return None, f"{champion}; trained without checking whether anything has changed"
    if champion is None or champion.tags.get(TRAINING_TAG) != plan.trained_from:
        return None, None
    return f"models:/{name}/{champion.number}", None
