"""What is to be recorded of an attempt, on disk before anything is sent: a folder that can be sent now or next week.

Each attempt has one, `tracking/<number>` in the output folder: entries in `spool.jsonl`, copies of the recorded files
in `files`, and in `sent.json` how far a sender has come. Several processes append to it, a line at once.
"""

import errno
import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal

from embedstep.output.result import read_json, write_json

_EXAMPLE = ("how do I open a file", "Open a file and return a stream.")
_REQUIRED = ("sentence-transformers", "transformers", "torch", "numpy")
Status = Literal["FINISHED", "FAILED", "KILLED"]
Entry = Mapping[str, Any]
"""`at` (milliseconds since 1970), `kind`, and what belongs to that kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """How far a spool was sent.

    Attributes:
        run_id: the MLflow run, once it is open.
        attempt: which attempt of that run this is, from 1.
        uri: where it is, without secrets.
        bytes: how much of the spool has arrived.
        complaints: what did not arrive and never will, one sentence each.
        later: parts of the spool with files that their store did not take, as first byte, byte after them, and why.
        trouble: why the next entry has not arrived yet; empty while it goes on.
        refused: whether only a person can end that trouble.
    """

    run_id: str | None = None
    attempt: int = 1
    uri: str | None = None
    bytes: int = 0
    complaints: tuple[str, ...] = ()
    later: tuple[tuple[int, int, str], ...] = ()
    trouble: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class SpoolFolder:
    """The spool of one attempt.

    Attributes:
        path: its folder.
    """

    path: Path

    @property
    def number(self) -> int:
        """Number of the attempt, from 1."""
        return int(self.path.name)

    @property
    def entries(self) -> Path:
        """The entries, one in a line."""
        return self.path / "spool.jsonl"

    @property
    def files(self) -> Path:
        """Copies of the files that are to be recorded, as they were at their entry."""
        return self.path / "files"

    @property
    def sent(self) -> Sent:
        """How far it was sent."""
        file = self.path / "sent.json"
        if not file.exists():
            return Sent()
        data = read_json(file)
        later = tuple((start, end, why) for start, end, why in data["later"])
        return Sent(**{**data, "complaints": tuple(data["complaints"]), "later": later})

    def write_sent(self, sent: Sent) -> None:
        """Write down how far it was sent."""
        write_json(self.path / "sent.json", asdict(sent))

    def read(self, start: int = 0) -> list[tuple[Entry, int]]:
        """Return the entries from byte `start`, each with the byte after it; a line being written is none yet."""
        if not self.entries.exists():
            return []
        with self.entries.open("rb") as file:
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]
        ends = accumulate((len(line) + 1 for line in lines), initial=start)
        return [(_entry(line), end) for line, end in zip(lines, islice(ends, 1, None), strict=True)]

    @property
    def status(self) -> Status | None:
        """How the attempt has ended, or None before that."""
        found: Status | None = next((entry["status"] for entry, _ in self.read() if entry["kind"] == "end"), None)
        return found

    def has_sent(self, kind: str) -> bool:
        """Whether there are entries of a kind and all are done with: arrived, or told that they never will."""
        sent = self.sent
        ends = [end for entry, end in self.read() if entry["kind"] == kind]
        waiting = [(start, end) for start, end, _ in sent.later]
        return bool(ends) and all(end <= sent.bytes and not any(a < end <= b for a, b in waiting) for end in ends)

    @property
    def patience(self) -> float | None:
        """Seconds that the end of the attempt allows for a server that does not answer, or None before the end."""
        ends = (entry for entry, _ in self.read(self.sent.bytes) if entry["kind"] == "end")
        return next((float(entry["patience"]) for entry in ends), None)

    @property
    def is_sent(self) -> bool:
        """Whether everything has arrived, the end too."""
        sent = self.sent
        return self.status is not None and not sent.later and sent.bytes >= self.entries.stat().st_size


def _entry(line: bytes) -> Entry:
    """Read a line; one that a full disk has cut off is an entry of the kind `lost`."""
    try:
        entry: Entry = json.loads(line)
    except ValueError:
        return {"at": 0, "kind": "lost"}
    return entry


def spools(output: Path) -> list[SpoolFolder]:
    """Return the spools of the attempts in an output folder, the first attempt first."""
    found = [SpoolFolder(path) for path in (output / "tracking").glob("*") if path.name.isdecimal()]
    return sorted(found, key=lambda spool: spool.number)


def unsent(output: Path) -> list[SpoolFolder]:
    """Return the spools of an output folder that were not sent to their end."""
    return [spool for spool in spools(output) if not spool.is_sent]


def new_spool(output: Path) -> SpoolFolder:
    """Make the spool of another attempt; those of earlier ones are removed where they were sent, but for the last."""
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
    """Writes entries. Whatever happens to the disk, a training goes on: what cannot be written is noted.

    Attributes:
        folder: the spool, or None to record nothing.
        complaints: what could not be written, one sentence each.
    """

    folder: SpoolFolder | None
    complaints: list[str] = field(default_factory=list)
    _not_finite: Counter[str] = field(default_factory=Counter)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Record parameters."""
        self.add("parameters", values={name: str(value) for name, value in values.items()})

    def metrics(self, values: Mapping[str, float], *, train_step: int, once: bool = False) -> None:
        """Record numbers at a train step, `once` where an earlier attempt may have come to that step and logged them.

        Only the finite ones: MLflow's databases keep NaN as 0 and infinity as the largest number, so that a search for
        a small loss finds runs that diverged. Of the others `non_finite/<name>` counts how many there were.
        """
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for name in values.keys() - finite.keys():
            self._not_finite[name] += 1
            finite[f"non_finite/{name}"] = float(self._not_finite[name])
        self.add("metrics", step=train_step, values=finite, **({"once": True} if once else {}))

    def datasets(self, values: Sequence[Mapping[str, Any]]) -> None:
        """Record what is trained and evaluated on."""
        self.add("datasets", values=list(values))

    def file(self, file: Path) -> None:
        """Record a file as it is now, at the top of the run's artifacts."""
        if self.folder is None:
            return
        try:
            shutil.copyfile(file, self.folder.files / file.name)
        except OSError as error:
            self._complain(file.name, error)
        else:
            self.add("file", name=file.name)

    def model(self, place: Path, published: Path, *, dimension: int, step: int) -> None:
        """Record a saved model, whose files may be sent before anybody knows whether it is as it should be.

        Args:
            place: its folder.
            published: where it will be when it has turned out well.
            dimension: numbers of an embedding.
            step: the last train step.
        """
        self.add(
            "model",
            path=str(place),
            published=str(published),
            dimension=dimension,
            example=list(_EXAMPLE),
            requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _REQUIRED],
            step=step,
        )

    def end(self, status: Status, *, patience: float) -> None:
        """Record how the attempt has ended.

        Args:
            status: the last status of the run.
            patience: seconds that a server may leave unanswered, from when it last answered.
        """
        self.add("end", status=status, patience=patience)

    def add(self, kind: str, **content: Any) -> None:
        """Append one entry."""
        if self.folder is None:
            return
        line = json.dumps({"at": int(time.time() * 1000), "kind": kind, **content}, allow_nan=False) + "\n"
        try:
            # One write for a line, because others append, too; a disk that is full takes a part of it.
            with self.folder.entries.open("ab", buffering=0) as file:
                if file.write(line.encode()) < len(line.encode()):
                    raise OSError(errno.ENOSPC, "")
        except OSError as error:
            self._complain(kind, error)

    def _complain(self, what: str, error: OSError) -> None:
        self.complaints.append(f"{what}: {os.strerror(error.errno or 0)}")
