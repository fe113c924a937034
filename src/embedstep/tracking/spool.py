"""The spool: everything to record of an attempt, on disk before it is sent, so that it can also be sent next week.

Each attempt has a folder `tracking/<number>` in the output folder: entries in `spool.jsonl`, copies of files in
`files`, and the progress of the sender in `sent.json`. Several processes append entries, one line at a time.
"""

import errno
import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal

from embedstep.output.adapters import saved_adapter
from embedstep.output.result import read_json, write_json
from embedstep.request.trackers import MLFLOW

_EXAMPLE = ("how do I open a file", "Open a file and return a stream.")
_REQUIRED = ("sentence-transformers", "transformers", "torch", "numpy")
_NAMES_OF_0_1 = {"complaints": "not_recorded", "later": "deferred", "trouble": "last_error"}
"""Keys of `sent.json` in 0.1.0, whose unsent spools are still sent, and their current names."""
Status = Literal["FINISHED", "FAILED", "KILLED"]
Entry = Mapping[str, Any]
"""`at` (milliseconds since 1970), `kind`, and the fields of that kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """Progress of the sender of a spool.

    Attributes:
        run_id: MLflow run, once it is open.
        attempt: number of the attempt in that run, from 1.
        uri: tracking URI without secrets.
        bytes: size of the part of the spool that was sent.
        not_recorded: what the server rejected for good, one sentence each.
        deferred: parts of the spool with files that could not be stored yet, as first byte, end, and reason.
        last_error: why the next entry could not be sent yet; empty if there is no error.
        refused: whether only a person can resolve that error.
    """

    run_id: str | None = None
    attempt: int = 1
    uri: str | None = None
    bytes: int = 0
    not_recorded: tuple[str, ...] = ()
    deferred: tuple[tuple[int, int, str], ...] = ()
    last_error: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class SpoolFolder:
    """The spool of one attempt.

    Attributes:
        path: folder of the spool.
    """

    path: Path

    @property
    def number(self) -> int:
        """Number of the attempt, from 1."""
        return int(self.path.name)

    @property
    def entries(self) -> Path:
        """File of the entries, one on each line."""
        return self.path / "spool.jsonl"

    @property
    def files(self) -> Path:
        """Folder of the files to record, copied when they were recorded."""
        return self.path / "files"

    @property
    def sent(self) -> Sent:
        """Progress of the sender."""
        file = self.path / "sent.json"
        if not file.exists():
            return Sent()
        data = {_NAMES_OF_0_1.get(name, name): value for name, value in read_json(file).items()}
        deferred = tuple((start, end, why) for start, end, why in data["deferred"])
        return Sent(**{**data, "not_recorded": tuple(data["not_recorded"]), "deferred": deferred})

    def write_sent(self, sent: Sent) -> None:
        """Save the progress of the sender."""
        write_json(self.path / "sent.json", asdict(sent))

    def read(self, start: int = 0) -> list[tuple[Entry, int]]:
        """Return the entries from byte `start`, each with its end in bytes. An incomplete last line is left out."""
        if not self.entries.exists():
            return []
        with self.entries.open("rb") as file:
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]
        ends = accumulate((len(line) + 1 for line in lines), initial=start)
        entries = (self._located(_parse_entry(line)) for line in lines)
        return list(zip(entries, islice(ends, 1, None), strict=True))

    @property
    def output(self) -> Path:
        """The output folder that the spool is in."""
        return self.path.parent.parent

    def _located(self, entry: Entry) -> Entry:
        """Return an entry with the places of a model in the output folder as it is now: it may have moved."""
        if entry["kind"] != "model":
            return entry
        return {**entry, **{name: str(self.output / entry[name]) for name in ("path", "published")}}

    def _first(self, kind: str, start: int = 0) -> Entry | None:
        return next((entry for entry, _ in self.read(start) if entry["kind"] == kind), None)

    @property
    def start(self) -> Entry | None:
        """The entry that says which run the attempt is recorded in, or None before it is there."""
        return self._first("start")

    @property
    def tracker(self) -> str:
        """Name of the tracker; a spool of 0.1.0 does not say it."""
        return str((self.start or {}).get("tracker", MLFLOW))

    @property
    def status(self) -> Status | None:
        """Final status of the attempt, or None while it runs."""
        return (self._first("end") or {}).get("status")

    def has_sent(self, kind: str) -> bool:
        """Whether there are entries of a kind, and all were sent or rejected for good."""
        sent = self.sent
        ends = [end for entry, end in self.read() if entry["kind"] == kind]
        waiting = [(start, end) for start, end, _ in sent.deferred]
        return bool(ends) and all(end <= sent.bytes and not any(a < end <= b for a, b in waiting) for end in ends)

    @property
    def patience(self) -> float | None:
        """Seconds to wait for a server that does not answer, from the last entry; None while the attempt runs."""
        end = self._first("end", self.sent.bytes)
        return None if end is None else float(end["patience"])

    @property
    def is_sent(self) -> bool:
        """Whether everything was sent, including the last entry."""
        sent = self.sent
        return self.status is not None and not sent.deferred and sent.bytes >= self.entries.stat().st_size


def _parse_entry(line: bytes) -> Entry:
    """Parse a line. One that was cut off by a full disk has the kind `lost`."""
    try:
        entry: Entry = json.loads(line)
    except ValueError:
        return {"at": 0, "kind": "lost"}
    return entry


def _within(output: Path, place: Path) -> str:
    """Return a place relative to the output folder if it is in there."""
    return str(place.relative_to(output) if place.is_relative_to(output) else place)


def spools(output: Path) -> list[SpoolFolder]:
    """Return the spools in an output folder, in the order of attempts."""
    found = [SpoolFolder(path) for path in (output / "tracking").glob("*") if path.name.isdecimal()]
    return sorted(found, key=lambda spool: spool.number)


def unsent(output: Path) -> list[SpoolFolder]:
    """Return the spools in an output folder that were not completely sent."""
    return [spool for spool in spools(output) if not spool.is_sent]


def new_spool(output: Path) -> SpoolFolder:
    """Create the spool of another attempt, and delete earlier ones that were sent, except the last."""
    earlier = spools(output)
    number = earlier[-1].number + 1 if earlier else 1
    for spool in earlier[:-1]:
        if spool.is_sent:
            shutil.rmtree(spool.path)
    spool = SpoolFolder(output / "tracking" / str(number))
    spool.files.mkdir(parents=True)
    return spool


@dataclass(slots=True, kw_only=True)
class Spool:
    """Writes entries. A disk error does not stop the training; it is noted.

    Attributes:
        folder: folder of the spool, or None to record nothing.
        not_recorded: what could not be written, one sentence each.
    """

    folder: SpoolFolder | None
    not_recorded: list[str] = field(default_factory=list)
    _not_finite: Counter[str] = field(default_factory=Counter)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Record parameters."""
        self.add("parameters", values={name: str(value) for name, value in values.items()})

    def metrics(self, values: Mapping[str, float], *, train_step: int, once: bool = False) -> None:
        """Record metrics at a train step.

        Only finite values: MLflow's databases store NaN as 0 and infinity as the largest number, so a search for a low
        loss would find diverged runs. `non_finite/<name>` counts the others.

        Args:
            values: metrics by name.
            train_step: the train step.
            once: skip metrics that an earlier attempt has already logged at this step.
        """
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for name in values.keys() - finite.keys():
            self._not_finite[name] += 1
            finite[f"non_finite/{name}"] = float(self._not_finite[name])
        self.add("metrics", step=train_step, values=finite, **({"once": True} if once else {}))

    def file(self, file: Path) -> None:
        """Copy a file, to record it at the top of the run's artifacts."""
        if self.folder is None:
            return
        try:
            shutil.copyfile(file, self.folder.files / file.name)
        except OSError as error:
            self._note_error(file.name, error)
        else:
            self.add("file", name=file.name)

    def model(self, place: Path, published: Path, *, dimension: int, step: int) -> None:
        """Record a saved model. Its files may be sent before it is verified.

        Args:
            place: folder of the model.
            published: folder of the model after verification.
            dimension: dimension of an embedding.
            step: the last train step.
        """
        if self.folder is None:
            return
        output = self.folder.output
        is_adapter = saved_adapter(place) is not None
        required = [*_REQUIRED, *(["peft"] if is_adapter else [])]
        self.add(
            "model",
            path=_within(output, place),
            published=_within(output, published),
            dimension=dimension,
            example=list(_EXAMPLE),
            requirements=[f"{name}=={version(name).partition('+')[0]}" for name in required],
            step=step,
        )

    def end(self, status: Status, *, patience: float) -> None:
        """Record the end of the attempt.

        Args:
            status: final status of the run.
            patience: seconds to wait for a server that does not answer, counted from its last answer.
        """
        self.add("end", status=status, patience=patience)

    def add(self, kind: str, **content: Any) -> None:
        """Append one entry."""
        if self.folder is None:
            return
        line = json.dumps({"at": int(time.time() * 1000), "kind": kind, **content}, allow_nan=False) + "\n"
        try:
            # One write for each line, because other processes append too. A full disk writes only a part.
            with self.folder.entries.open("ab", buffering=0) as file:
                if file.write(line.encode()) < len(line.encode()):
                    raise OSError(errno.ENOSPC, "")
        except OSError as error:
            self._note_error(kind, error)

    def _note_error(self, what: str, error: OSError) -> None:
        self.not_recorded.append(f"{what}: {os.strerror(error.errno or 0)}")
