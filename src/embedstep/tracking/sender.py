"""Sends what an attempt has spooled, in a process beside the training: `python -m embedstep.tracking.sender OUTPUT`.

The training never waits for a server: it appends to the spool, and this process reads it. It ends when it has sent the
end of the attempt, or when the server does not answer for as long as that entry allows; the spool then stays. When the
launcher is gone without an end, which its closed pipe tells, the attempt has failed.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.errors import CANNOT_START, OK, EmbedstepError, InvalidRequestError
from embedstep.request.schema import TRACKING_URI
from embedstep.runtime.exit import exit_now
from embedstep.runtime.secrets import redact
from embedstep.tracking.spool import Entry, Sent, Spool, SpoolFolder, unsent

if TYPE_CHECKING:
    from embedstep.request.schema import Tracking

_POLL = 0.25
_LONGEST_PAUSE = 30.0
_SECONDS_OF_METRICS = 10.0
_AT_ONCE = 5000
_ORPHAN_PATIENCE = 30.0
"""Seconds after which a sender whose launcher is gone ends, whatever it waits for: the next attempt waits for it."""
_OF_FILES = ("file", "model", "register")


class Sender:
    """Sends one spool, from where it was left."""

    def __init__(self, spool: SpoolFolder, uri: str) -> None:
        """Take what is to be sent; nothing is imported and asked yet.

        Args:
            spool: the spool of an attempt.
            uri: tracking URI, with its secrets.
        """
        self._spool = spool
        self._uri = uri
        self._tracker: Any = None
        self.sent = spool.sent

    def forward(self) -> bool:
        """Send what is there, and return whether that was all, with the end of the attempt.

        Raises:
            CannotStartError: the server does not answer; the spool stays as it is.
            InvalidRequestError: the server lets us not, and only a person can help.
        """
        try:
            for entries, end in _in_groups(self._spool.read(self.sent.bytes)):
                complaints = self._delivered(entries, end)
                self._write(bytes=end, complaints=(*self.sent.complaints, *complaints), trouble="", refused=False)
                if entries[-1]["kind"] == "end":
                    return True
        except EmbedstepError as error:
            self._write(trouble=str(error), refused=isinstance(error, InvalidRequestError))
            raise
        return False

    def again(self) -> None:
        """Send the files that their store did not take; what it does not take now stays."""
        later, self.sent = self.sent.later, replace(self.sent, later=())
        for start, end, _ in later:
            entries = [entry for entry, after in self._spool.read(start) if after <= end]
            complaints = self._delivered(entries, end, start)
            self._write(complaints=(*self.sent.complaints, *complaints))

    def _delivered(self, entries: Sequence[Entry], end: int, start: int | None = None) -> list[str]:
        """Send entries. Files may have a store of their own, whose trouble keeps nothing else from arriving."""
        try:
            return self._deliver(entries)
        except EmbedstepError as error:
            if entries[0]["kind"] not in _OF_FILES or self._tracker is None or not self._tracker.answers():
                raise
            part = (self.sent.bytes if start is None else start, end, str(error))
            self.sent = replace(self.sent, later=(*self.sent.later, part))
            return []

    def _deliver(self, entries: Sequence[Entry]) -> list[str]:
        if self._tracker is None:
            self._tracker = _of_mlflow().Tracker(self._uri, self._spool)
        if entries[0]["kind"] == "lost":
            return [f"{len(entries)} entries were cut off by a full disk"]
        if entries[0]["kind"] != "start":
            found: list[str] = self._tracker.deliver(entries)
            return found
        if not self.sent.run_id:  # an answer that was lost on the way may have left the tracker with half of it
            self._tracker.open(entries[0])
            self._write(run_id=self._tracker.run_id, attempt=self._tracker.attempt, uri=redact(self._uri, os.environ))
        return []

    def _write(self, **changes: Any) -> None:
        self.sent = replace(self.sent, **changes)
        self._spool.write_sent(self.sent)


def _in_groups(entries: Sequence[tuple[Entry, int]]) -> Iterator[tuple[list[Entry], int]]:
    """Yield neighbours of one kind together, with the byte after them."""
    for _, some in groupby(entries, key=lambda item: item[0]["kind"]):
        while group := list(islice(some, _AT_ONCE)):
            yield [entry for entry, _ in group], group[-1][1]


def _of_mlflow() -> Any:
    """Load MLflow once it is needed. Looking for garbage meanwhile would take a sixth of the 1.4 s on a core."""
    gc.disable()
    try:
        return import_module("embedstep.tracking.mlflow")
    finally:
        gc.enable()


def tracking_uri(tracking: "Tracking", environ: Mapping[str, str]) -> str:
    """Return where to record: the request's URI, else the environment's, else a database in the current folder."""
    given = tracking.uri or environ.get(TRACKING_URI) or "sqlite:///mlflow.db"
    head, slashes, path = given.partition(":///")
    if head == "sqlite" and slashes and path and not path.startswith("/"):
        # MLflow would place a database and artifacts by the folder of each process.
        return f"sqlite:///{Path(path).absolute()}"
    return given


def sync(output: Path, uri: str | None = None) -> list[Sent]:
    """Send what attempts in an output folder have left unsent, and return how far each was sent.

    What has arrived is known by its run, its time and its step; sending it once more changes nothing.

    Args:
        output: the output folder; nobody is writing in it.
        uri: tracking URI in place of the one that the attempts had.

    Raises:
        CannotStartError: the server does not answer.
        InvalidRequestError: the server lets us not, and only a person can help.
    """
    return [sync_one(spool, uri) for spool in unsent(output)]


def sync_one(spool: SpoolFolder, uri: str | None = None) -> Sent:
    """Send what is left of one spool; see `sync`."""
    if spool.status is None:
        # Whoever would have written the end is gone.
        Spool(folder=spool).end("FAILED", patience=0)
    sender = Sender(spool, uri or _uri_of(spool))
    sender.again()
    sender.forward()
    return sender.sent


def _uri_of(spool: SpoolFolder) -> str:
    """Return where an attempt was to be recorded: its entry has that without secrets."""
    start = next(entry for entry, _ in spool.read() if entry["kind"] == "start")
    given = os.environ.get(TRACKING_URI, "")
    return given if redact(given, os.environ) == start["uri"] else str(start["uri"])


def main(argv: Sequence[str]) -> int:
    """Send the spools of an output folder until the last one's end.

    Args:
        argv: the output folder and the tracking URI.
    """
    # The training goes first; at its end this process is waited for, so that it may not starve either.
    os.nice(5)
    output, uri = Path(argv[0]), argv[1]
    launcher_is_done = threading.Event()
    live = _Live(output, uri, launcher_is_done)
    threading.Thread(target=_watch, args=(live, launcher_is_done), daemon=True).start()
    return live.run()


def _watch(live: "_Live", launcher_is_done: threading.Event) -> None:
    sys.stdin.buffer.read()
    is_orphan = not live.has_end
    launcher_is_done.set()
    if is_orphan:
        time.sleep(_ORPHAN_PATIENCE)
        exit_now(CANNOT_START)  # from within a request that is not answered; what was not sent stays in the spool


class _Live:
    """Sends while an attempt runs; what earlier attempts in the folder left unsent goes first."""

    def __init__(self, output: Path, uri: str, launcher_is_done: threading.Event) -> None:
        *self._earlier, self._spool = unsent(output)
        self._sender = Sender(self._spool, uri)
        self._launcher_is_done = launcher_is_done
        self._machine = _Machine(self._spool, uri)
        self._has_told = False
        self._silent_since: float | None = None

    @property
    def has_end(self) -> bool:
        """Whether the launcher has written how the attempt has ended."""
        return self._spool.status is not None

    def run(self) -> int:
        """Return the code to end in, after the end of the attempt was sent or cannot be."""
        pause = _POLL
        while True:
            if self._launcher_is_done.is_set() and not self.has_end:
                Spool(folder=self._spool).end("FAILED", patience=_ORPHAN_PATIENCE)
            try:
                if self._forward():
                    return OK
                self._silent_since, pause = None, _POLL
            except EmbedstepError as error:
                self._tell(error)
                pause = min(2 * pause, _LONGEST_PAUSE)
                if self._is_out_of_patience():
                    return error.exit_code
            if self._launcher_is_done.is_set():
                time.sleep(_POLL / 5)
            else:
                self._machine.look()
                self._launcher_is_done.wait(pause)

    def _forward(self) -> bool:
        while self._earlier:
            with suppress(InvalidRequestError):
                sync_one(self._earlier[0])
            del self._earlier[0]
        return self._sender.forward()

    def _is_out_of_patience(self) -> bool:
        """Whether the attempt has ended, and the server has not answered for longer than that allows.

        One that was away for the last hour is not waited for at the end; one that went a moment ago is.
        """
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        patience = self._spool.patience
        return patience is not None and now > self._silent_since + patience

    def _tell(self, error: EmbedstepError) -> None:
        if not self._has_told:
            self._has_told = True
            sys.stderr.write(f"{error}\n  the training goes on; what is to be recorded waits in {self._spool.path}\n")


class _Machine:
    """Looks at the machine now and then, as MLflow's own monitor does."""

    def __init__(self, spool: SpoolFolder, uri: str) -> None:
        self._writer = Spool(folder=spool)
        self._uri = uri
        self._metrics: Any = None
        self._looked = -1

    def look(self) -> None:
        """Record the machine's metrics, unless that was done in the last ten seconds or is switched off."""
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() == "false":
            return
        if self._metrics is None:
            self._metrics = import_module("embedstep.tracking.mlflow_system").SystemMetrics(self._uri)
            self._started = time.monotonic()
        number = int((time.monotonic() - self._started) / _SECONDS_OF_METRICS)
        if number > self._looked:
            self._looked = number
            self._writer.metrics(self._metrics.read(), train_step=number)


if __name__ == "__main__":
    exit_now(main(sys.argv[1:]))
