"""MLflow's model registry: the champion, and changes of it by one process at a time."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# First, because it says how to install MLflow if that is missing.
# isort: off
from embedstep.tracking.mlflow import translate_errors, open_client
from mlflow.artifacts import download_artifacts

# isort: on
from embedstep.errors import CannotStartError
from embedstep.output.attempts import FormerRun, cost_metric, cost_unit
from embedstep.planning.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.tracking.mlflow_model import EXISTS, FOLDER, MISSING, allow_error, default_uri
from embedstep.tracking.names import MODEL_TAG, ROWS_TAG, STEPS_METRIC
from embedstep.tracking.recording import comparison_tags

CHAMPION = "champion"
_HISTORY_TAG = "embedstep.former_champions"
_LOCK_EXPIRY = 60.0
_LOCK_TIMEOUT = 120.0
_POLL = 0.2
_MAX_RUNS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A version of a registered model.

    Attributes:
        number: number of the version, as MLflow writes it.
        run_id: run that trained it.
        tags: tags of the version.
    """

    number: str
    run_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)


class Registry:
    """The versions of one registered model.

    Every method raises `CannotStartError` if the server does not answer, and `InvalidRequestError` if it refuses.
    """

    def __init__(self, uri: str, name: str) -> None:
        """Create the client, without a request to the server.

        Args:
            uri: tracking URI.
            name: name of the registered model.
        """
        self.name = name
        self._uri = uri
        self._client = open_client(uri)

    def champion(self) -> Version | None:
        """Return the champion, or None if there is none yet."""
        with translate_errors(self._uri), allow_error(MISSING, "INVALID_PARAMETER_VALUE"):
            return _version(self._client.get_model_version_by_alias(self.name, CHAMPION))
        return None

    def find_version(self, run_id: str) -> Version | None:
        """Return the newest version of a run, or None."""
        with translate_errors(self._uri):
            found = self._client.search_model_versions(f"name = '{self.name}' and run_id = '{run_id}'")
        return max(map(_version, found), key=lambda version: int(version.number), default=None)

    def download(self, version: Version, folder: Path) -> Path:
        """Download a version, and return the folder of its sentence-transformers model."""
        folder.mkdir(parents=True, exist_ok=True)
        with translate_errors(self._uri), default_uri(self._uri):
            path = download_artifacts(
                artifact_uri=f"models:/{self.name}/{version.number}", dst_path=str(folder), tracking_uri=self._uri
            )
        return Path(path) / FOLDER

    def tag(self, number: str, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version and of the run that trained it."""
        with translate_errors(self._uri):
            for key, text in tags.items():
                self._client.set_model_version_tag(self.name, number, key, text)
                self._client.set_tag(run_id, key, text)

    def promote(self, version: Version, instead_of: Version | None) -> bool:
        """Make a version the champion if the champion is still the expected one, and return whether it was.

        MLflow has no compare-and-set for aliases. But only one of two clients can create a registered model of a new
        name, so such a name serves as a lock while the alias is read and set.
        """
        with translate_errors(self._uri), self._locked():
            if self.champion() != instead_of:
                return False
            before = [instead_of.number] if instead_of else []
            history = [*self._history(), *before]
            self._client.set_registered_model_tag(self.name, _HISTORY_TAG, json.dumps(history))
            self._client.set_registered_model_alias(self.name, CHAMPION, version.number)
            return True

    def roll_back(self) -> Version | None:
        """Make the previous champion the champion again, and return it, or None if there is none."""
        with translate_errors(self._uri), self._locked():
            history = self._history()
            if not history:
                return None
            former = _version(self._client.get_model_version(self.name, history[-1]))
            self._client.set_registered_model_alias(self.name, CHAMPION, former.number)
            self._client.set_registered_model_tag(self.name, _HISTORY_TAG, json.dumps(history[:-1]))
            return former

    def _history(self) -> list[str]:
        tags = self._client.get_registered_model(self.name).tags
        found: list[str] = json.loads(tags.get(_HISTORY_TAG, "[]"))
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the model. A lock older than a minute counts as abandoned."""
        lock = f"{self.name}.promoting"
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while not self._try_lock(lock):
            if time.monotonic() > deadline:
                raise CannotStartError(f"{self.name}: another promotion has been running for two minutes; try again")
            time.sleep(_POLL)
        try:
            yield
        finally:
            self._release(lock)

    def _try_lock(self, lock: str) -> bool:
        description = "Lock of a running promotion; it is deleted automatically."
        # If the lock is deleted meanwhile, the server reports that it does not exist.
        with allow_error(EXISTS, MISSING):
            self._client.create_registered_model(lock, description=description)
            return True
        with allow_error(MISSING):
            since = self._client.get_registered_model(lock).creation_timestamp / 1000
            if time.time() - since > _LOCK_EXPIRY:
                self._release(lock)
        return False

    def _release(self, lock: str) -> None:
        """Delete the lock. A request that is sent twice finds it deleted."""
        with allow_error(MISSING):
            self._client.delete_registered_model(lock)


def fetch_files(uri: str, run_id: str, names: Sequence[str], folder: Path) -> None:
    """Download files from the top of a run's artifacts, and skip those that are not there.

    Raises:
        CannotStartError: the server does not answer.
        InvalidRequestError: the run does not exist or may not be read.
    """
    with translate_errors(uri), default_uri(uri):
        client = open_client(uri)
        there = {item.path for item in client.list_artifacts(run_id)}
        for name in names:
            if name in there:
                client.download_artifacts(run_id, name, str(folder))


def former_runs(uri: str, request: TrainRequest, plan: Plan) -> list[FormerRun]:
    """Return the successful runs in the request's experiment with the same model, processes and devices.

    Raises:
        CannotStartError: the server does not answer.
        InvalidRequestError: the experiment may not be read.
    """
    tags = comparison_tags(request, plan)
    unit = cost_metric(cost_unit(on_cpu=plan.on_cpu))
    with translate_errors(uri):
        client = open_client(uri)
        experiment = client.get_experiment_by_name(request.tracking.experiment)
        if experiment is None:
            return []
        wanted = {MODEL_TAG: tags[MODEL_TAG], "embedstep.world_size": str(plan.world_size)}
        where = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
        where += " and attributes.status = 'FINISHED'"
        runs = client.search_runs([experiment.experiment_id], where, max_results=_MAX_RUNS)
    return [
        FormerRun(
            train_steps=int(run.data.metrics[STEPS_METRIC]),
            hours=run.data.metrics[f"cost/{unit}"] - run.data.metrics[f"cost/lost_{unit}"],
            is_of_same_rows=run.data.tags[ROWS_TAG] == tags[ROWS_TAG],
        )
        for run in runs
        if f"cost/{unit}" in run.data.metrics and run.data.metrics.get(STEPS_METRIC)
    ]


def record_files(uri: str, run_id: str, files: Sequence[Path]) -> None:
    """Upload files to the top of a run's artifacts, replacing those of the same names.

    Raises:
        CannotStartError: the server does not answer.
        InvalidRequestError: the run does not exist or may not be written.
    """
    with translate_errors(uri), default_uri(uri):
        for file in files:
            open_client(uri).log_artifact(run_id, str(file))


def _version(found: Any) -> Version:
    return Version(number=str(found.version), run_id=found.run_id or None, tags=dict(found.tags or {}))
