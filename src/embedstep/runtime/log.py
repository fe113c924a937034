"""What a run says while it works: one line after the other on standard error, for people or for programs."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from embedstep.runtime.text import format_seconds

LogFormat = Literal["text", "lines", "json", "quiet"]
"""`text` shows a bar on a terminal and lines elsewhere, `lines` lines everywhere, `json` a JSON object on each line,
`quiet` nothing."""
LOG_VARIABLE = "EMBEDSTEP_LOG"
"""Environment variable with the format, which all processes of a run inherit."""
_FORMATS: tuple[LogFormat, ...] = ("text", "lines", "json", "quiet")


def log_format(environ: Mapping[str, str]) -> LogFormat:
    """Return the format that an environment asks for; `text` if it asks for none that exists."""
    return next((name for name in _FORMATS if name == environ.get(LOG_VARIABLE)), "text")


def say(text: str, stream: TextIO | None = None, **values: Any) -> None:
    """Write a line without delay, also to a pipe, which is buffered.

    Args:
        text: the line.
        stream: standard error, unless it is given.
        values: what a program may want to read without the text; it stands in a JSON line only.
    """
    stream, form = stream or sys.stderr, log_format(os.environ)
    if form == "quiet":
        return
    if form == "json":
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps({"time": now, "message": text, **values}, ensure_ascii=False)
    stream.write(f"{text}\n")
    stream.flush()


@contextmanager
def repeat(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call a function again and again in a thread, until the block ends.

    Args:
        action: the function; it must not raise.
        seconds: time between two calls, and before the first.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=run, daemon=True, name="embedstep-log")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def say_while(activity: str, seconds: float = 30.0) -> Iterator[None]:
    """Say again and again what takes so long, until the block ends.

    Args:
        activity: what takes time, such as `reading the data`.
        seconds: time between two lines, and before the first.
    """
    began = time.monotonic()
    with repeat(lambda: say(f"{activity}, for {format_seconds(time.monotonic() - began)}", activity=activity), seconds):
        yield
