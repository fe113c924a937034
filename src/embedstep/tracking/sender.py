"""The sender, a background process: `python -m embedstep.tracking.sender OUTPUT URI`.

The training never waits for a server: it appends to the spool, and this process sends it. It ends when it has sent the
last entry of the attempt, or when the server has not answered for as long as that entry allows; the spool then stays.
If the launcher disappears without writing a last entry, which closes the sender's input, the attempt has failed.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from embedstep.errors import CANNOT_START, OK, EmbedstepError, InvalidRequestError, Problem
from embedstep.request.extensions import load
from embedstep.request.schema import TRACKING_URI, Tracking
from embedstep.request.trackers import MLFLOW, tracker_kind
from embedstep.runtime.exit import exit_now
from embedstep.runtime.secrets import redact
from embedstep.tracking.mlflow_system import SystemMetrics
from embedstep.tracking.spool import Entry, Sent, Spool, SpoolFolder, unsent

_POLL = 0.25
_MAX_PAUSE = 30.0
_BATCH = 5000
_ORPHAN_SECONDS = 30.0
"""Seconds after which a sender without a launcher exits, because the next attempt waits for it."""
_FILE_KINDS = ("file", "model", "register")


class Sender:
    """Sends one spool, from where the previous sender stopped."""

    def __init__(self, spool: SpoolFolder, uri: str) -> None:
        """Take the spool, without importing MLflow.

        Args:
            spool: spool of an attempt.
            uri: tracking URI, with its secrets.
        """
        self._spool = spool
        self._uri = uri
        self._tracker: Any = None
        self.sent = spool.sent

    def forward(self) -> bool:
        """Send all new entries, and return whether the last one of the attempt was among them.

        Raises:
            CannotStartError: the server does not answer; the spool stays as it is.
            InvalidRequestError: the server refuses, and only a person can help.
        """
        try:
            for entries, end in _in_groups(self._spool.read(self.sent.bytes)):
                not_recorded = self._deliver_or_defer(entries, end)
                self._write(
                    bytes=end, not_recorded=(*self.sent.not_recorded, *not_recorded), last_error="", refused=False
                )
                if entries[-1]["kind"] == "end":
                    return True
        except EmbedstepError as error:
            self._write(last_error=str(error), refused=isinstance(error, InvalidRequestError))
            raise
        return False

    def send_deferred(self) -> None:
        """Send deferred files again. Those that fail again stay deferred."""
        deferred, self.sent = self.sent.deferred, replace(self.sent, deferred=())
        for start, end, _ in deferred:
            entries = [entry for entry, after in self._spool.read(start) if after <= end]
            not_recorded = self._deliver_or_defer(entries, end, start)
            self._write(not_recorded=(*self.sent.not_recorded, *not_recorded))

    def _deliver_or_defer(self, entries: Sequence[Entry], end: int, start: int | None = None) -> list[str]:
        """Send entries, and defer files on failure: their store may fail while the server works."""
        try:
            return self._deliver(entries)
        except EmbedstepError as error:
            if entries[0]["kind"] not in _FILE_KINDS or self._tracker is None or not self._tracker.answers():
                raise
            part = (self.sent.bytes if start is None else start, end, str(error))
            self.sent = replace(self.sent, deferred=(*self.sent.deferred, part))
            return []

    def _deliver(self, entries: Sequence[Entry]) -> list[str]:
        if self._tracker is None:
            self._tracker = _import_tracker(self._spool.tracker)(self._uri, self._spool)
        if entries[0]["kind"] == "lost":
            return [f"{len(entries)} entries were cut off by a full disk"]
        if entries[0]["kind"] != "start":
            found: list[str] = self._tracker.deliver(entries)
            return found
        if not self.sent.run_id:  # the tracker may have opened the run before an error
            self._tracker.open(entries[0])
            self._write(
                run_id=self._tracker.run_id, attempt=self._tracker.attempt, uri=redact(self._tracker.uri, os.environ)
            )
        return []

    def _write(self, **changes: Any) -> None:
        self.sent = replace(self.sent, **changes)
        self._spool.write_sent(self.sent)


def _in_groups(entries: Sequence[tuple[Entry, int]]) -> Iterator[tuple[list[Entry], int]]:
    """Group consecutive entries of one kind, each group with its end in bytes."""
    for _, some in groupby(entries, key=lambda item: item[0]["kind"]):
        while group := list(islice(some, _BATCH)):
            yield [entry for entry, _ in group], group[-1][1]


def _import_tracker(name: str) -> Any:
    """Import a tracker's class without garbage collection, which would take a sixth of MLflow's 1.4 s.

    Raises:
        InvalidRequestError: its code cannot be imported.
    """
    gc.disable()
    try:
        return load(tracker_kind(name).class_name)
    except (LookupError, ValueError) as error:
        raise InvalidRequestError([Problem("tracking.kind", str(error))]) from error
    finally:
        gc.enable()


def tracking_uri(tracking: Tracking, environ: Mapping[str, str]) -> str:
    """Return the tracking URI of the request, else of the environment, else a database in the current folder."""
    given = tracking.uri or environ.get(TRACKING_URI) or "sqlite:///mlflow.db"
    head, slashes, path = given.partition(":///")
    if head == "sqlite" and slashes and path and not path.startswith("/"):
        # MLflow would resolve a relative path against the current folder of each process.
        return f"sqlite:///{Path(path).absolute()}"
    return given


def sync(output: Path, uri: str | None = None) -> list[Sent]:
    """Send what the attempts in an output folder have not sent, and return the progress of each.

    Sending is idempotent: entries are identified by run, time and step.

    Args:
        output: output folder of a run that is not active.
        uri: tracking URI in place of that of the attempts.

    Raises:
        CannotStartError: the server does not answer.
        InvalidRequestError: the server refuses, and only a person can help.
    """
    return [sync_one(spool, uri) for spool in unsent(output)]


def sync_one(spool: SpoolFolder, uri: str | None = None) -> Sent:
    """Send the rest of one spool. See `sync`."""
    if spool.status is None:
        # The process that would have written the last entry is gone.
        Spool(folder=spool).end("FAILED", patience=0)
    sender = Sender(spool, uri or _read_uri(spool))
    sender.send_deferred()
    sender.forward()
    return sender.sent


def _read_uri(spool: SpoolFolder) -> str:
    """Return the tracking URI of an attempt, from the environment if the spool has the same one without secrets."""
    start = spool.start
    assert start is not None
    given = os.environ.get(TRACKING_URI, "")
    return given if redact(given, os.environ) == start["uri"] else str(start["uri"])


def main(argv: Sequence[str]) -> int:
    """Send the spools of an output folder, until the last entry of the last one.

    Args:
        argv: output folder and tracking URI.
    """
    # The training has priority, but waits for this process at its end, so not too low.
    os.nice(5)
    output, uri = Path(argv[0]), argv[1]
    launcher_is_done = threading.Event()
    live = _LiveSender(output, uri, launcher_is_done)
    threading.Thread(target=_watch, args=(live, launcher_is_done), daemon=True).start()
    return live.run()


def _watch(live: "_LiveSender", launcher_is_done: threading.Event) -> None:
    # Returns at the end of file: the launcher has closed the pipe, or is gone.
    sys.stdin.buffer.read()
    is_orphan = not live.has_end
    launcher_is_done.set()
    if is_orphan:
        time.sleep(_ORPHAN_SECONDS)
        exit_now(CANNOT_START)  # the main thread may be in a request; unsent entries stay in the spool


class _LiveSender:
    """Sends while an attempt runs, after what earlier attempts in the folder have not sent."""

    def __init__(self, output: Path, uri: str, launcher_is_done: threading.Event) -> None:
        *self._earlier, self._spool = unsent(output)
        self._sender = Sender(self._spool, uri)
        self._launcher_is_done = launcher_is_done
        self._uri = uri
        self._machine: SystemMetrics | None = None
        is_disabled = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() == "false"
        self._records_machine = self._spool.tracker == MLFLOW and not is_disabled
        self._has_reported = False
        self._silent_since: float | None = None

    @property
    def has_end(self) -> bool:
        """Whether the launcher has written the last entry."""
        return self._spool.status is not None

    def run(self) -> int:
        """Send until the last entry was sent or cannot be, and return the exit code."""
        pause = _POLL
        while True:
            if self._launcher_is_done.is_set() and not self.has_end:
                Spool(folder=self._spool).end("FAILED", patience=_ORPHAN_SECONDS)
            try:
                if self._forward():
                    return OK
                self._silent_since, pause = None, _POLL
            except EmbedstepError as error:
                self._report(error)
                pause = min(2 * pause, _MAX_PAUSE)
                if self._has_timed_out():
                    return error.exit_code
            if self._launcher_is_done.is_set():
                # The launcher waits for this process now.
                time.sleep(_POLL / 5)
            else:
                self._record_machine()
                self._launcher_is_done.wait(pause)

    def _record_machine(self) -> None:
        if self._records_machine:
            # Only now, because MLflow's monitor takes a while to import.
            self._machine = self._machine or SystemMetrics(self._uri)
            self._machine.record(Spool(folder=self._spool))

    def _forward(self) -> bool:
        while self._earlier:
            with suppress(InvalidRequestError):
                sync_one(self._earlier[0])
            del self._earlier[0]
        return self._sender.forward()

    def _has_timed_out(self) -> bool:
        """Whether the attempt has ended, and the server has been silent for longer than its last entry allows.

        Silence counts from before the end: a server that was down for the last hour gets no extra time.
        """
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        patience = self._spool.patience
        return patience is not None and now > self._silent_since + patience

    def _report(self, error: EmbedstepError) -> None:
        if not self._has_reported:
            self._has_reported = True
            sys.stderr.write(f"{error}\n  training continues; unsent records are kept in {self._spool.path}\n")


if __name__ == "__main__":
    exit_now(main(sys.argv[1:]))
