"""Environment variables for tracking, with overrides for one step.

An orchestrator may run several steps in threads of one process, which share its environment.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from embedstep.request.schema import TRACKING_RUN_ID, TRACKING_URI

_OVERRIDES: ContextVar[Mapping[str, str]] = ContextVar("embedstep_tracking_environment", default={})  # noqa: B039 - never changed


def tracking_environ() -> dict[str, str]:
    """Return the environment with the overrides of this thread."""
    return {**os.environ, **_OVERRIDES.get()}


@contextmanager
def tracking_override(uri: str, run_id: str | None = None) -> Iterator[None]:
    """Record to another place than the environment says, in this thread.

    Args:
        uri: tracking URI, unless the request has one.
        run_id: run that is open there, if any.
    """
    token = _OVERRIDES.set({TRACKING_URI: uri} | ({TRACKING_RUN_ID: run_id} if run_id else {}))
    try:
        yield
    finally:
        _OVERRIDES.reset(token)
