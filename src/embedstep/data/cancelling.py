"""Run a call of a library that no signal reaches, so that a signal cancels it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_PAUSE = 0.05
"""Seconds between two attempts to cancel."""


def run_cancellable(work: Callable[[], _T], cancel: Callable[[], object]) -> _T:
    """Return what `work` returns. It runs in a thread, so that the handlers of signals run in this one.

    Args:
        work: a call that may take hours without running Python code.
        cancel: makes it end soon; called again until it has ended, because it may not have begun.

    Raises:
        BaseException: what `work` raises, or what the handler of a signal raises.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="query") as threads:
        future = threads.submit(work)
        try:
            return future.result()
        finally:
            while not future.done():
                cancel()
                time.sleep(_PAUSE)
