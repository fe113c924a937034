"""The environment as tracking sees it: what an orchestrator tells one step stands over the variables of the process.

An orchestrator may run several steps in threads of one process, which has one environment for all of them.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from embedstep.request.schema import TRACKING_RUN_ID, TRACKING_URI

_OVER: ContextVar[Mapping[str, str]] = ContextVar("embedstep_tracking_environment", default={})  # noqa: B039 - never changed


def tracking_environ() -> dict[str, str]:
    """Return the variables that count for tracking in this thread."""
    return {**os.environ, **_OVER.get()}


@contextmanager
def tracking_override(uri: str, run_id: str | None = None) -> Iterator[None]:
    """Have what is done meanwhile in this thread recorded at another place than the environment says.

    Args:
        uri: tracking URI, where the request has none of its own.
        run_id: the run that is open there, if one is.
    """
    token = _OVER.set({TRACKING_URI: uri} | ({TRACKING_RUN_ID: run_id} if run_id else {}))
    try:
        yield
    finally:
        _OVER.reset(token)
