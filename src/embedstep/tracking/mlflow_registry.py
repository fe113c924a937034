"""The model registry of MLflow, as a gate needs it: who serves, and one hand at a time that changes it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# First of all, because it says what to install where MLflow is not.
# isort: off
from embedstep.tracking.mlflow import translate_errors, client_of
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

# isort: on
from embedstep.errors import CannotStartError
from embedstep.output.attempts import FormerRun, cost_metric, unit_of
from embedstep.planning.plan import Plan
from embedstep.request.schema import TrainRequest
from embedstep.tracking.mlflow_model import FOLDER, default_uri
from embedstep.tracking.names import MODEL_TAG, ROWS_TAG, STEPS_METRIC
from embedstep.tracking.recording import comparable

CHAMPION = "champion"
_HISTORY_TAG = "embedstep.former_champions"
_LONGEST_HOLD = 60.0
_PATIENCE = 120.0
_PAUSE = 0.2
_MOST_RUNS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A version of a registered model.

    Attributes:
        number: its number, as MLflow writes it.
        run_id: the run that trained it.
        tags: its tags.
    """

    number: str
    run_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)


class Registry:
    """The versions of one registered model.

    Every method raises `CannotStartError` where the server does not answer, and `InvalidRequestError` where it refuses.
    """

    def __init__(self, uri: str, name: str) -> None:
        """Make a client; nothing is asked yet.

        Args:
            uri: tracking URI.
            name: name of the registered model.
        """
        self.name = name
        self._uri = uri
        self._client = client_of(uri)

    def champion(self) -> Version | None:
        """Return the version that serves, or None where there is none yet."""
        with translate_errors(self._uri):
            try:
                return _version(self._client.get_model_version_by_alias(self.name, CHAMPION))
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def of_run(self, run_id: str) -> Version | None:
        """Return the newest version that a run has registered."""
        with translate_errors(self._uri):
            found = self._client.search_model_versions(f"name = '{self.name}' and run_id = '{run_id}'")
        return max(map(_version, found), key=lambda version: int(version.number), default=None)

    def download(self, version: Version, folder: Path) -> Path:
        """Fetch the files of a version, and return the folder of its sentence-transformers model."""
        folder.mkdir(parents=True, exist_ok=True)
        with translate_errors(self._uri), default_uri(self._uri):
            place = download_artifacts(
                artifact_uri=f"models:/{self.name}/{version.number}", dst_path=str(folder), tracking_uri=self._uri
            )
        return Path(place) / FOLDER

    def tag(self, number: str, run_id: str, tags: Mapping[str, str]) -> None:
        """Write tags to a version, by its number, and to the run that trained it."""
        with translate_errors(self._uri):
            for key, text in tags.items():
                self._client.set_model_version_tag(self.name, number, key, text)
                self._client.set_tag(run_id, key, text)

    def promote(self, version: Version, instead_of: Version | None) -> bool:
        """Make a version the champion if the champion is still the expected one, and return whether it was.

        MLflow has no such operation: an alias goes to whoever sets it last. What it has is that one of two clients
        gets a new name, so that a name is held while the alias is looked at and set.
        """
        with translate_errors(self._uri), self._held():
            if self.champion() != instead_of:
                return False
            before = [instead_of.number] if instead_of else []
            history = [*self._history(), *before]
            self._client.set_registered_model_tag(self.name, _HISTORY_TAG, json.dumps(history))
            self._client.set_registered_model_alias(self.name, CHAMPION, version.number)
            return True

    def roll_back(self) -> Version | None:
        """Make the former champion the champion again, and return it, or None where there is none."""
        with translate_errors(self._uri), self._held():
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
    def _held(self) -> Iterator[None]:
        """Hold the name beside that of the model; one that is held for a minute has lost its holder."""
        lock = f"{self.name}.promoting"
        deadline = time.monotonic() + _PATIENCE
        while not self._took(lock):
            if time.monotonic() > deadline:
                raise CannotStartError(f"{self.name}: other gates are at work since two minutes; try again")
            time.sleep(_PAUSE)
        try:
            yield
        finally:
            self._release(lock)

    def _took(self, lock: str) -> bool:
        try:
            self._client.create_registered_model(lock, description="A gate decides; this goes away by itself.")
        except MlflowException as error:
            # A name that goes while the server looks who has it is told as one that is not there.
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        else:
            return True
        try:
            since = self._client.get_registered_model(lock).creation_timestamp / 1000
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        else:
            if time.time() - since > _LONGEST_HOLD:
                self._release(lock)
        return False

    def _release(self, lock: str) -> None:
        """Delete the held name; a request that was sent twice has found it gone."""
        try:
            self._client.delete_registered_model(lock)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def fetch_files(uri: str, run_id: str, names: Sequence[str], folder: Path) -> None:
    """Fetch files that a run has recorded at the top of its artifacts; those that it has not are left out.

    Raises:
        CannotStartError: the server does not answer.
        InvalidRequestError: there is no such run, or it may not be read.
    """
    with translate_errors(uri), default_uri(uri):
        client = client_of(uri)
        there = {item.path for item in client.list_artifacts(run_id)}
        for name in names:
            if name in there:
                client.download_artifacts(run_id, name, str(folder))


def former_runs(uri: str, request: TrainRequest, plan: Plan) -> list[FormerRun]:
    """Return the runs of the request's experiment that ended well with its model, processes and devices.

    Raises:
        CannotStartError: the server does not answer.
        InvalidRequestError: it may not be read.
    """
    tags = comparable(request, plan)
    unit = cost_metric(unit_of(on_cpu=plan.on_cpu))
    with translate_errors(uri):
        client = client_of(uri)
        experiment = client.get_experiment_by_name(request.tracking.experiment)
        if experiment is None:
            return []
        asked = {MODEL_TAG: tags[MODEL_TAG], "embedstep.world_size": str(plan.world_size)}
        where = " and ".join(f"tags.`{name}` = '{value}'" for name, value in asked.items())
        where += " and attributes.status = 'FINISHED'"
        runs = client.search_runs([experiment.experiment_id], where, max_results=_MOST_RUNS)
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
    """Record files at the top of the artifacts of a run, in place of those of the same names.

    Raises:
        CannotStartError: the server does not answer.
        InvalidRequestError: there is no such run, or it may not be written.
    """
    with translate_errors(uri), default_uri(uri):
        for file in files:
            client_of(uri).log_artifact(run_id, str(file))


def _version(found: Any) -> Version:
    return Version(number=str(found.version), run_id=found.run_id or None, tags=dict(found.tags or {}))
