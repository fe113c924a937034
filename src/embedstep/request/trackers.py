"""The trackers: where a run can be recorded (`tracking.kind`), and what the trainer can report to (`report_to`).

A tracker of `tracking` is one file with a class and one row here. It fills its run from the spool, in a process of its
own. What `report_to` names is a callback of transformers, which records while the training waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from embedstep.request.extensions import TRACKERS as GROUP
from embedstep.request.extensions import declared

MLFLOW = "mlflow"
NONE = "none"
"""The value of `tracking.kind` that records in the output folder alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerKind:
    """One tracker.

    Attributes:
        name: its name in a request.
        class_name: its class as `package.module:Class`, a subclass of `RunTracker`; empty where `tracking.kind` does
            not take it.
        package: what its class imports.
        extra: the extra of embedstep that installs the package; empty where none does.
        callback_packages: one of these has to be there for `report_to`; None where `report_to` does not take it.
    """

    name: str
    class_name: str = ""
    package: str = ""
    extra: str = ""
    callback_packages: tuple[str, ...] | None = None


_CALLBACKS_BY_PACKAGE = ("clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "neptune", "swanlab", "trackio")
_ROWS = (
    TrackerKind(
        name=MLFLOW,
        class_name="embedstep.tracking.mlflow:Tracker",
        package="mlflow",
        extra="mlflow",
        callback_packages=(),  # the run is recorded by `tracking`
    ),
    TrackerKind(
        name="tensorboard",
        class_name="embedstep.tracking.tensorboard:Tracker",
        package="tensorboardX",
        callback_packages=("tensorboard", "tensorboardX"),
    ),
    TrackerKind(
        name="wandb",
        class_name="embedstep.tracking.wandb:Tracker",
        package="wandb",
        callback_packages=("wandb",),
    ),
    TrackerKind(name="azure_ml", callback_packages=()),  # is MLflow
    TrackerKind(name="flyte", callback_packages=("flytekit",)),
    TrackerKind(name="kubeflow", callback_packages=()),
    *(TrackerKind(name=package, callback_packages=(package,)) for package in _CALLBACKS_BY_PACKAGE),
)

TRACKERS: Mapping[str, TrackerKind] = {row.name: row for row in _ROWS}
KINDS = (*(row.name for row in _ROWS if row.class_name), NONE)
"""The values of `tracking.kind` that need no extension."""
CALLBACKS: Mapping[str, tuple[str, ...]] = {
    row.name: row.callback_packages
    for row in sorted(_ROWS, key=lambda row: row.name)
    if row.callback_packages is not None
}
"""What `report_to` takes, and the packages of which each needs one."""


def tracker_kind(name: str) -> TrackerKind:
    """Return the tracker that `tracking.kind` names, one of ours or a declared one.

    Raises:
        LookupError: there is none.
        ValueError: its declaration cannot be imported.
    """
    return TRACKERS[name] if name in KINDS else declared(GROUP, name, TrackerKind)
