"""Trainings that are not tracked: a recorded run once more, to compare the weights, or a few steps as a trial."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from os import environ
from pathlib import Path
from typing import Any

from embedstep.data.hub import named_datasets
from embedstep.errors import OK, InvalidRequestError, Problem
from embedstep.launch.failures import RunFailedError
from embedstep.output.folder import OutputFolder
from embedstep.output.provenance import FILE, read_provenance
from embedstep.output.result import StepResult, is_complete, read_json, with_current_names, write_json
from embedstep.planning.plan import Plan
from embedstep.request.schema import Tracking, TrainRequest
from embedstep.request.stored import request_from_json
from embedstep.step import plan_step, run_step
from embedstep.tracking.sender import tracking_uri

REPLAY_FORMAT = "embedstep.replay/1"
_FILES = ("request.json", "plan.json", "result.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """A run and its replay.

    Attributes:
        run: output folder or id of the run.
        output: output folder of the replay.
        weights: digests of the weights of the run and of the replay.
        versions: libraries whose version has changed, as `(then, now)`.
        is_of_same_base: whether both started from the same weights and tokenizer.
    """

    run: str
    output: str
    weights: tuple[str, str]
    versions: Mapping[str, tuple[str, str]]
    is_of_same_base: bool

    @property
    def is_equal(self) -> bool:
        """Whether all weights are bit-identical."""
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
        run: output folder or MLflow id of the run, or the folder of its model.
        output: output folder of the replay.
        uri: tracking URI of the run; None for that of the environment.
        overwrite: replace a finished model in the output folder.

    Raises:
        InvalidRequestError: the run has not recorded enough, or its data has changed.
        CannotStartError: the tracking server does not answer.
        RunFailedError: the training has failed; the error has its exit code.
    """
    if Path(run).is_dir():
        if output.absolute() == Path(run).absolute():
            raise InvalidRequestError([Problem("--output", "is the run itself; name another folder")])
        return _replay(run, _read_recorded(run, Path(run)), output.absolute(), overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="embedstep-") as folder:
        fetched = import_module("embedstep.tracking.mlflow_registry").fetch_files
        fetched(tracking_uri(Tracking(uri=uri), environ), run, _FILES, Path(folder))
        recorded = replace(_read_recorded(run, Path(folder)), directory=Path.cwd())
        return _replay(run, recorded, output.absolute(), overwrite=overwrite)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recorded:
    """What is needed to train a run again.

    Attributes:
        request: the request as plain data.
        directory: folder from which its relative paths start.
        weights: digest of the weights.
        versions: versions of the libraries that trained.
        stop_reason: why the training ended before its last step, if it did.
        processes: processes that trained together.
        datasets: `split`, `name`, `rows` and `fingerprint` of each dataset.
        base: digest of the base model.
    """

    request: Mapping[str, Any]
    directory: Path
    weights: str
    versions: Mapping[str, str]
    stop_reason: str | None
    processes: int
    datasets: Sequence[Mapping[str, Any]]
    base: str | None


def _read_recorded(run: str, folder: Path) -> _Recorded:
    """Read an output folder, or the folder of a model that was handed over alone."""
    provenance = read_provenance(folder)
    if provenance is not None and not (folder / "plan.json").exists():
        return _of_model(run, provenance)
    if missing := [name for name in _FILES if not (folder / name).exists()]:
        message = f"has recorded no {' and no '.join(missing)}; only a run that succeeded can be replayed"
        raise InvalidRequestError([Problem(run, message)])
    before, planned = with_current_names(read_json(folder / "result.json")), read_json(folder / "plan.json")
    if not before.get("weights_sha256"):
        raise InvalidRequestError([Problem(run, "has no model, or is of a version that did not record the weights")])
    request = read_json(folder / "request.json")
    began = (folder / request.get("working_directory", Path.cwd())).resolve()
    return _Recorded(
        request=request,
        directory=began if began.is_dir() else Path.cwd(),
        weights=before["weights_sha256"],
        versions=before["versions"],
        stop_reason=before.get("stop_reason"),
        processes=planned["world_size"],
        datasets=planned["datasets"],
        base=planned.get("base"),
    )


def _of_model(run: str, provenance: Mapping[str, Any]) -> _Recorded:
    try:
        return _Recorded(
            request=provenance,
            directory=Path.cwd(),
            weights=provenance["weights_sha256"],
            versions={name: number for name, number in provenance["versions"].items() if name != "python"},
            stop_reason=provenance["stop_reason"],
            processes=provenance["world_size"],
            datasets=provenance["data"],
            base=provenance["base_sha256"],
        )
    except KeyError as error:
        raise InvalidRequestError.at(run, f"lacks {error.args[0]} in {FILE}, so it cannot be replayed") from None


def _replay(run: str, recorded: _Recorded, output: Path, *, overwrite: bool) -> Replay:
    request = _local_request(recorded.request, recorded.processes)
    if not is_complete(recorded.stop_reason):
        message = f"was stopped by a time limit ({recorded.stop_reason}), which would not stop at the same step again"
        raise InvalidRequestError([Problem(run, message)])
    nodes = request.launch.nodes
    if request.data.read == "per_node" and nodes > 1:
        message = f"has read its rows on {nodes} nodes, which a replay on one would divide in another way"
        raise InvalidRequestError([Problem(run, message)])
    with _working_directory(recorded.directory, request):
        if problems := list(_changed_data(plan_step(request), recorded.datasets)):
            raise InvalidRequestError(problems)
        result = run_or_raise(request, output, overwrite=overwrite)
    assert result.weights_sha256 is not None
    found = Replay(
        run=run,
        output=str(output),
        weights=(recorded.weights, result.weights_sha256),
        versions=_changed_versions(recorded.versions, result.versions),
        is_of_same_base=read_json(OutputFolder(output).plan)["base"] == recorded.base,
    )
    write_json(OutputFolder(output).replay, found.to_json())
    return found


@contextmanager
def _working_directory(recorded: Path, request: TrainRequest) -> Iterator[None]:
    """Work where the run did if its files are there, else in the current folder.

    Raises:
        InvalidRequestError: files are in neither; the problems name both folders.
    """
    here = Path.cwd()
    missing = {folder: list(_missing_files(request, folder)) for folder in dict.fromkeys((recorded, here))}
    best = min(missing, key=lambda folder: len(missing[folder]))
    if names := missing[best]:
        places = " nor ".join(str(folder) for folder in missing)
        message = f"is neither in {places}" if len(missing) > 1 else f"is not in {places}"
        raise InvalidRequestError(
            [Problem(name, f"{message}; run this command in the folder that has it") for name in names]
        )
    with chdir(best):
        yield


def _missing_files(request: TrainRequest, folder: Path) -> Iterator[str]:
    """Yield the relative paths of the request that match nothing in a folder."""
    paths = [path for _, _, dataset in named_datasets(request) for path in dataset.path or ()]
    paths += [source for source in request.model.sources if source.startswith((".", "~")) or source.count("/") > 1]
    for path in dict.fromkeys(paths):
        is_relative = "://" not in path and not path.startswith(("/", "~"))
        if is_relative and not (folder / path).exists() and not any(folder.glob(path)):
            yield path


def _local_request(stored: Mapping[str, Any], processes: int) -> TrainRequest:
    """Return the request of a run for this machine, with as many processes, untracked and from the first step."""
    request = without_tracking(request_from_json(stored), {"overwrite_output_dir": False})
    # The processes of all nodes run on this one.
    launch = request.launch.model_copy(update={"processes_per_node": processes})
    return request.model_copy(update={"launch": launch})


def _changed_data(plan: Plan, datasets: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    before = {(item["split"], item["name"]): item for item in datasets}
    for item in plan.datasets:
        then = before[item.split, item.name]
        if then["fingerprint"] != item.fingerprint:
            message = f"has changed since the run: {then['rows']:,} rows then, {item.rows:,} now"
            yield Problem(item.place, f"{message}; restore them to replay it")


def _changed_versions(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {name: (version, now[name]) for name, version in then.items() if now.get(name, version) != version}


def without_tracking(request: TrainRequest, arguments: Mapping[str, Any]) -> TrainRequest:
    """Return a request that tracks and publishes nothing, resumes from no checkpoint, and is never skipped.

    Args:
        request: the request.
        arguments: further training arguments to change.
    """
    changed = {"resume_from_checkpoint": None, "push_to_hub": False, "report_to": ["none"], **arguments}
    return request.model_copy(
        update={
            "arguments": request.arguments.model_copy(update=changed),
            "tracking": Tracking(kind="none"),
            # On this machine, and not into the folder that pods write to.
            "launch": request.launch.model_copy(update={"kind": "local", "nodes": 1, "trainjob": None}),
            "skip_if_unchanged": False,
            "schedule": None,
        }
    )


def run_or_raise(request: TrainRequest, output: Path, *, overwrite: bool = False) -> StepResult:
    """Run a request, and return its result if it has succeeded.

    Args:
        request: the request.
        output: the output folder.
        overwrite: replace a finished model in it.

    Raises:
        EmbedstepError: as `run_step`.
        RunFailedError: the training has failed; the error has its exit code.
    """
    result = run_step(request, output, overwrite=overwrite)
    if result.exit_code != OK:
        assert result.failure is not None
        raise RunFailedError(result.failure)
    return result
