"""What a tracker other than MLflow has to do: five methods, which the sender calls in the order of the spool.

It runs in the sender's process, so that the training never waits for it. Whatever a method raises counts as a server
that does not answer: the entry is delivered again later, so every method may be called twice with the same values.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from embedstep.errors import CannotStartError, EmbedstepError, first_line
from embedstep.tracking.spool import Entry, SpoolFolder, Status

_OF_MLFLOW = "mlflow."


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """The run that a tracker is to open.

    Attributes:
        id: the same for all attempts of one run.
        experiment: `tracking.experiment`.
        name: `tracking.run_name`.
        tags: tags of the request, and what embedstep knows of machine and repository.
        uri: `tracking.uri`, or nothing.
        output: the output folder of the step.
    """

    id: str
    experiment: str
    name: str | None
    tags: Mapping[str, str]
    uri: str
    output: Path


class RunTracker(ABC):
    """One run, as a sender fills it. A tracker of one's own implements the abstract methods.

    Attributes:
        uri: where the run is, for the result.
        run_id: the run's id, once it is open.
        attempt: number of the attempt.
    """

    @abstractmethod
    def open_run(self, run: RunInfo) -> str:
        """Open the run, or reopen that of an earlier attempt, and return where it is."""

    @abstractmethod
    def log_parameters(self, values: Mapping[str, str]) -> None:
        """Record the request and the training arguments."""

    @abstractmethod
    def log_metrics(self, values: Mapping[str, float], step: int, seconds: float) -> None:
        """Record metrics of a train step, taken at `seconds` since 1970. All values are finite."""

    @abstractmethod
    def log_file(self, file: Path) -> None:
        """Record a file, which may be gone or another one when the method has returned."""

    @abstractmethod
    def end_run(self, status: Status) -> None:
        """End the run as FINISHED, FAILED or KILLED. Everything must have been written when the method returns."""

    def __init__(self, uri: str, spool: SpoolFolder) -> None:
        """Take what is to be sent; nothing is opened yet.

        Args:
            uri: `tracking.uri`, or nothing.
            spool: the spool of an attempt.
        """
        self.uri = uri
        self.attempt = spool.number
        self.run_id = ""
        self._spool = spool

    def open(self, start: Entry) -> None:
        """Open the run.

        Args:
            start: the entry that says which run.

        Raises:
            CannotStartError: the tracker could not.
        """
        run_id = sha256(start["key"].encode()).hexdigest()[:12]
        run = RunInfo(
            id=run_id,
            experiment=start["experiment"],
            name=start["run_name"],
            tags={name: text for name, text in start["tags"].items() if not name.startswith(_OF_MLFLOW)},
            uri=self.uri,
            output=self._spool.path.parent.parent,
        )
        with _translate_errors():
            self.uri = self.open_run(run)
        self.run_id = run_id

    def answers(self) -> bool:
        """Whether what failed was one file only. Nobody knows, so everything waits."""
        return False

    def deliver(self, entries: Sequence[Entry]) -> list[str]:
        """Record entries of one kind, and return what can never be recorded: files that are gone, one sentence each.

        Raises:
            CannotStartError: the tracker could not.
        """
        if not self.run_id and self._spool.start is not None:  # a sender that takes over
            self.open(self._spool.start)
        files = {entry["name"] for entry in entries if entry["kind"] == "file"}
        missing = {name for name in files if not (self._spool.files / name).exists()}
        with _translate_errors():
            for entry in entries:
                if entry.get("name") not in missing:
                    self._record(entry)
        return [f"{name}: it no longer exists" for name in sorted(missing)]

    def _record(self, entry: Entry) -> None:
        """Record an entry. A model stays where it is: in the output folder, which is in `result.json`."""
        match entry["kind"]:
            case "metrics":
                self.log_metrics(entry["values"], entry["step"], entry["at"] / 1000)
            case "parameters":
                self.log_parameters(entry["values"])
            case "datasets":
                file = self._spool.files / "datasets.json"
                file.write_text(json.dumps(entry["values"], indent=2, ensure_ascii=False))
                self.log_file(file)
            case "file":
                self.log_file(self._spool.files / entry["name"])
            case "end":
                self.end_run(entry["status"])


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Convert whatever the code of a tracker raises to an error after which the sender tries again."""
    try:
        yield
    except EmbedstepError:
        raise
    except Exception as error:
        raise CannotStartError(f"tracking: {type(error).__name__}: {first_line(error)}") from error
