"""Trainings that nobody records: the same one once more from what a run has recorded, or a few steps as a trial."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from os import environ
from pathlib import Path
from typing import Any

from embedstep.errors import OK, InvalidRequestError, Problem
from embedstep.launch.failures import RunFailedError
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult, read_json, with_current_names, write_json
from embedstep.planning.plan import Plan
from embedstep.request.schema import Tracking, TrainRequest
from embedstep.step import plan_step, run_step
from embedstep.tracking.sender import tracking_uri

REPLAY_FORMAT = "embedstep.replay/1"
_FILES = ("request.json", "plan.json", "result.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """A run, and the same training once more.

    Attributes:
        run: the output folder or the id of the run.
        output: output folder of the new training.
        weights: digest of the model's weights then and now.
        versions: libraries with another version now, as `(then, now)`.
        is_of_same_base: both started from the same weights and tokenizer.
    """

    run: str
    output: str
    weights: tuple[str, str]
    versions: Mapping[str, tuple[str, str]]
    is_of_same_base: bool

    @property
    def is_equal(self) -> bool:
        """Whether all weights are equal to the bit."""
        then, now = self.weights
        return then == now

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `replay.json`."""
        return {
            "format": REPLAY_FORMAT,
            "run": self.run,
            "output": self.output,
            "equal": self.is_equal,
            "weights": list(self.weights),
            "same_base": self.is_of_same_base,
            "versions": {name: list(both) for name, both in self.versions.items()},
        }


def replay(run: str, output: Path, *, uri: str | None = None, overwrite: bool = False) -> Replay:
    """Train a run again in another folder, and compare the weights.

    Args:
        run: an output folder, or the id of an MLflow run.
        output: the output folder of the new training.
        uri: tracking URI of the run; the environment's without it.
        overwrite: replace a finished model in that folder.

    Raises:
        InvalidRequestError: the run has recorded too little, or its data has changed.
        CannotStartError: the tracking server does not answer.
        RunFailedError: the training has failed, in the way that its exit code tells.
    """
    if Path(run).is_dir():
        if output.absolute() == Path(run).absolute():
            raise InvalidRequestError([Problem("--output", "is the run itself; name another folder")])
        return _replayed(run, Path(run), output, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="embedstep-") as folder:
        fetched = import_module("embedstep.tracking.mlflow_registry").fetch_files
        fetched(tracking_uri(Tracking(uri=uri), environ), run, _FILES, Path(folder))
        return _replayed(run, Path(folder), output, overwrite=overwrite)


def _replayed(run: str, recorded: Path, output: Path, *, overwrite: bool) -> Replay:
    if missing := [name for name in _FILES if not (recorded / name).exists()]:
        message = f"has recorded no {' and no '.join(missing)}; only a run that ended well can be trained again"
        raise InvalidRequestError([Problem(run, message)])
    before, was = with_current_names(read_json(recorded / "result.json")), read_json(recorded / "plan.json")
    if not before.get("weights_sha256"):
        raise InvalidRequestError([Problem(run, "has no model, or was made before weights were recorded")])
    request = _request(read_json(recorded / "request.json")["request"], was["world_size"])
    if before.get("stop_reason"):
        message = f"was stopped by the clock ({before['stop_reason']}), which nobody can do again at the same step"
        raise InvalidRequestError([Problem(run, message)])
    if problems := list(_changed_data(plan_step(request), was)):
        raise InvalidRequestError(problems)
    result = run_or_raise(request, output, overwrite=overwrite)
    assert result.weights_sha256 is not None
    found = Replay(
        run=run,
        output=str(output),
        weights=(before["weights_sha256"], result.weights_sha256),
        versions=_differing(before["versions"], result.versions),
        is_of_same_base=read_json(OutputFolder(output).plan)["base"] == was.get("base"),
    )
    write_json(OutputFolder(output).replay, found.to_json())
    return found


def _request(raw: Mapping[str, Any], processes: int) -> TrainRequest:
    """Return the request of a run for as many processes as it had, recorded nowhere and from the first step."""
    request = without_tracking(TrainRequest.model_validate(raw), {"overwrite_output_dir": False})
    # All of them here, those of a TrainJob's other nodes too.
    launch = request.launch.model_copy(update={"processes_per_node": processes})
    return request.model_copy(update={"launch": launch})


def _changed_data(plan: Plan, was: Mapping[str, Any]) -> Iterator[Problem]:
    before = {(item["split"], item["name"]): item for item in was["datasets"]}
    for item in plan.datasets:
        then = before[item.split, item.name]
        if then["fingerprint"] != item.fingerprint:
            message = f"has other rows than the run had: {then['rows']:,} then, {item.rows:,} now"
            yield Problem(f"data.{item.split}.{item.name}", f"{message}; bring those back to train it again")


def _differing(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {name: (version, now[name]) for name, version in then.items() if now.get(name, version) != version}


def without_tracking(request: TrainRequest, arguments: Mapping[str, Any]) -> TrainRequest:
    """Return a request that is recorded and pushed nowhere, goes on from no checkpoint, and trains in any case.

    Args:
        request: the request.
        arguments: training arguments that are others, too.
    """
    otherwise = {"resume_from_checkpoint": None, "push_to_hub": False, "report_to": ["none"], **arguments}
    return request.model_copy(
        update={
            "arguments": request.arguments.model_copy(update=otherwise),
            "tracking": Tracking(kind="none"),
            # Here, and not in the folder that pods write to.
            "launch": request.launch.model_copy(update={"kind": "local", "nodes": 1, "trainjob": None}),
            "skip_if_unchanged": False,
            "schedule": None,
        }
    )


def run_or_raise(request: TrainRequest, output: Path, *, overwrite: bool = False) -> StepResult:
    """Run a request to its end, and return its result only where that is good.

    Args:
        request: the request.
        output: the output folder.
        overwrite: replace a finished model that lies there.

    Raises:
        EmbedstepError: as `run_step`.
        RunFailedError: the training has failed, in the way that its exit code tells.
    """
    result = run_step(request, output, overwrite=overwrite)
    if result.exit_code != OK:
        assert result.failure is not None
        raise RunFailedError(result.failure)
    return result
