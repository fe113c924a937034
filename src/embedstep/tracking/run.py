"""What the worker asks of a tracker, the null object, and the table of trackers that are imported on use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from embedstep.request.schema import Tracking

Status = Literal["FINISHED", "FAILED", "KILLED"]
_TRACKERS = {"none": "embedstep.tracking.run", "mlflow": "embedstep.tracking.mlflow"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunAddress:
    """Enough to find a run again from another process.

    Attributes:
        kind: tracker.
        uri: where it is.
        run_id: the run.
    """

    kind: str
    uri: str
    run_id: str


class Run(Protocol):
    """One recorded run. No method but the constructor's ever raises because of the tracker: it is noted instead."""

    @property
    def address(self) -> RunAddress | None:
        """Where the run is, or None when nothing is recorded."""

    @property
    def complaints(self) -> Sequence[str]:
        """What could not be recorded, one sentence each."""

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Record parameters; long values are shortened."""

    def log_metrics(self, metrics: Mapping[str, float], *, train_step: int) -> None:
        """Record finite numbers at a train step."""

    def log_files(self, files: Sequence[Path]) -> None:
        """Record files as artifacts."""

    def log_model(self, model: Any, *, example: Sequence[str], embeddings: Any) -> None:
        """Record the model with its signature, and register it if the request says so."""

    def finish(self, status: Status) -> None:
        """End the run."""


class NullRun:
    """Records nothing: for ranks other than the first, and for `tracking: {kind: none}`."""

    address: RunAddress | None = None
    complaints: Sequence[str] = ()

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Do nothing."""

    def log_metrics(self, metrics: Mapping[str, float], *, train_step: int) -> None:
        """Do nothing."""

    def log_files(self, files: Sequence[Path]) -> None:
        """Do nothing."""

    def log_model(self, model: Any, *, example: Sequence[str], embeddings: Any) -> None:
        """Do nothing."""

    def finish(self, status: Status) -> None:
        """Do nothing."""


def open_run(tracking: Tracking) -> Run:
    """Open a run of the kind that the request names.

    Raises:
        CannotStartError: the tracker's package is missing, or the tracker does not answer.
        RefusedError: the tracker refused what the request says.
    """
    run: Run = import_module(_TRACKERS[tracking.kind]).new_run(tracking)
    return run


def end_run(address: RunAddress, status: Status) -> None:
    """Give a run its last status, whatever its own process has said of itself.

    Raises:
        CannotStartError: the tracker does not answer.
    """
    import_module(_TRACKERS[address.kind]).end_run(address, status)


def new_run(tracking: Tracking) -> Run:
    """Open a run that records nothing."""
    return NullRun()
