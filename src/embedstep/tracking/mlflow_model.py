"""The finished model in MLflow: written in its sentence-transformers flavor without loading it, and registered.

MLflow's own `log_model` needs the model in memory, and with it torch in the process that sends; it also asks the server
for the history of every metric. The files are the same: a test compares them.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import mlflow
import numpy as np
import yaml
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.utils import _save_example
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from embedstep.errors import CannotStartError
from embedstep.output.weights import weights_digest
from embedstep.tracking.spool import Entry

_T = TypeVar("_T")
_Item = TypeVar("_Item")
_NAME = "model"
_AT_ONCE = 16
FOLDER = "model.sentence_transformer"
"""Where the flavor keeps the sentence-transformers model among its own files."""
_PYTHON = ".".join(map(str, sys.version_info[:3]))
_ATTEMPT_TAG = "embedstep.attempt"


class ModelInRun:
    """The model of one attempt in MLflow: its files first, and when it has turned out well, its place in the registry.

    The first takes as long as a model is large and a server far, and goes on while the model is being verified.
    """

    def __init__(self, client: MlflowClient, *, may_be_there: bool, is_settled: bool) -> None:
        """Take the client; nothing is asked yet.

        Args:
            client: of the server.
            may_be_there: somebody may have begun with it before, so that the server is asked.
            is_settled: its files have arrived before, or it was told that they never will.
        """
        self._client = client
        self._may_be_there = may_be_there
        self._logged: Any = None
        self._is_settled = is_settled

    def upload(self, run: Run, attempt: int, entry: Entry, place: Path, aside: Path) -> None:
        """Upload the files of the model, unless they are there.

        Args:
            run: the run that trained it.
            attempt: the attempt of that run that trained it.
            entry: `dimension`, `example`, `requirements` and `step`.
            place: the folder that the model lies in now.
            aside: folder for the files of MLflow's own.
        """
        run_id = run.info.run_id
        begun = self._found(run, attempt)
        self._logged = logged = begun or self._client.create_logged_model(
            run.info.experiment_id, _NAME, run_id, {_ATTEMPT_TAG: str(attempt)}
        )
        # Whoever tries this again finds what was begun.
        self._may_be_there = True
        if logged.status != LoggedModelStatus.READY:
            folder = aside / "mlflow_model"
            shutil.rmtree(folder, ignore_errors=True)
            of_mlflow = Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id)
            try:
                write_model(folder, of_mlflow, {**entry, "path": place})
            except OSError:
                if place.exists():
                    raise
                # It has turned out well meanwhile, and got its name.
                shutil.rmtree(folder, ignore_errors=True)
                write_model(folder, of_mlflow, {**entry, "path": entry["published"]})
            requests = _uploads(self._client, logged, folder)
            # A server refuses to be told twice.
            if begun is None or not self._is_output(run_id, logged.model_id):
                output = LoggedModelOutput(logged.model_id, step=entry["step"])
                requests.append(lambda: self._client.log_outputs(run_id, [output]))
            in_parallel(lambda request: request(), requests)
            shutil.rmtree(folder)
        self._is_settled = True

    def miss(self, run: Run, attempt: int) -> None:
        """Know that the model cannot be sent any more, which has been told."""
        self.give_up(run, attempt)
        self._is_settled = True

    def register(self, run: Run, attempt: int, entry: Entry) -> None:
        """Say that the model is as it should be, and register it as the entry says, unless it is.

        Args:
            run: the run that trained it.
            attempt: the attempt of that run that trained it.
            entry: `register_as`, `aliases` and `tags`.

        Raises:
            CannotStartError: its files could not be uploaded yet.
        """
        if not self._is_settled:
            raise CannotStartError("the files of the model are not there yet")
        logged = self._logged or self._found(run, attempt)
        if logged is None or logged.status == LoggedModelStatus.FAILED:
            return
        tags = {**entry["tags"], _ATTEMPT_TAG: str(attempt)}
        if logged.status != LoggedModelStatus.READY:
            self._client.set_logged_model_tags(logged.model_id, tags)
            self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        if entry["register_as"]:
            _register(self._client, run.info.run_id, logged.model_id, entry, tags)

    def give_up(self, run: Run, attempt: int) -> None:
        """Say that the model of an attempt that has not ended well is none."""
        logged = self._logged or self._found(run, attempt)
        if logged is not None and logged.status != LoggedModelStatus.READY:
            self._logged = self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)

    def _is_output(self, run_id: str, model_id: str) -> bool:
        outputs = self._client.get_run(run_id).outputs
        return any(one.model_id == model_id for one in (outputs.model_outputs if outputs else ()))

    def _found(self, run: Run, attempt: int) -> Any:
        if not self._may_be_there:
            return None
        before = self._client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        return next((found for found in before if found.tags.get(_ATTEMPT_TAG) == str(attempt)), None)


def model_place(entry: Entry, weights: str | None) -> Path | None:
    """Return the folder that a recorded model lies in now, or None where it is gone.

    It is renamed when it has turned out well, and either folder may hold a later attempt's by now.

    Args:
        entry: `path` and `published`.
        weights: digest of its weights, or None for an attempt that is still at work and has not said that yet.
    """
    places = [place for place in (Path(entry["path"]), Path(entry["published"])) if place.is_dir()]
    if weights is None:
        places = [place for place in places if str(place) == entry["path"]]
    return next((place for place in places if weights is None or weights_digest(place) == weights), None)


def _uploads(client: MlflowClient, logged: LoggedModel, folder: Path) -> list[Callable[[], None]]:
    # The client's own method would ask for the logged model again before each file.
    store = get_artifact_repository(logged.artifact_location, tracking_uri=client.tracking_uri)

    def upload(file: Path) -> None:
        inside = file.parent.relative_to(folder)
        store.log_artifact(str(file), None if inside == Path() else inside.as_posix())

    return [partial(upload, file) for file in folder.rglob("*") if file.is_file()]


def in_parallel(send: Callable[[_Item], _T], items: Iterable[_Item]) -> list[_T]:
    """Send several at once, and return what came of each: a far server takes a while for each, however small."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [done.result() for done in [pool.submit(send, item) for item in items]]


def _register(client: MlflowClient, run_id: str, model_id: str, entry: Entry, tags: Mapping[str, str]) -> None:
    name, source = entry["register_as"], f"models:/{model_id}"
    versions = [found for found in client.search_model_versions(f"name = '{name}'") if found.source == source]
    if not versions:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        with default_uri(client.tracking_uri):
            versions = [client.create_model_version(name, source, run_id=run_id, tags=tags, model_id=model_id)]
    for alias in entry["aliases"]:
        client.set_registered_model_alias(name, alias, versions[0].version)


@contextmanager
def default_uri(uri: str) -> Iterator[None]:
    """Let MLflow's default be `uri`: where a version's model is, it looks up there, whatever the client's own is."""
    # What nobody has set must not be set afterwards: MLflow keeps it in the environment, for other processes too.
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def write_model(folder: Path, of_mlflow: Model, entry: Entry) -> None:
    """Write a model in MLflow's sentence-transformers flavor.

    The layout is that of `mlflow.sentence_transformers.save_model` in MLflow 3; the weights are linked, where the file
    system can, and not copied.

    Args:
        folder: where to.
        of_mlflow: what MLflow knows of it so far.
        entry: `path`, `dimension`, `example` and `requirements`.
    """
    shutil.copytree(entry["path"], folder / FOLDER, copy_function=_link)
    _save_example(of_mlflow, entry["example"], str(folder))
    of_mlflow.signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, entry["dimension"]))]),
    )
    of_mlflow.add_flavor(
        "python_function",
        loader_module="mlflow.sentence_transformers",
        python_version=_PYTHON,
        data=FOLDER,
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    )
    of_mlflow.add_flavor("sentence_transformers", sentence_transformers_version=_version(entry), code=None)
    of_mlflow.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    for name, text in _environment([f"mlflow=={version('mlflow')}", *entry["requirements"]]).items():
        (folder / name).write_text(text, encoding="utf-8")
    of_mlflow.save(str(folder / "MLmodel"))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _version(entry: Entry) -> str:
    """Return the version of sentence-transformers that trained."""
    pinned = dict(line.partition("==")[::2] for line in entry["requirements"])
    return str(pinned["sentence-transformers"])


def _environment(requirements: list[str]) -> dict[str, str]:
    """Return the files that say what to install before the model is loaded, in pip's, virtualenv's and conda's way."""
    of_conda: dict[str, Any] = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={_PYTHON}", "pip", {"pip": requirements}],
    }
    of_virtualenv = {
        "python": _PYTHON,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    return {
        "requirements.txt": "\n".join(requirements) + "\n",
        "conda.yaml": yaml.safe_dump(of_conda, sort_keys=False),
        "python_env.yaml": yaml.safe_dump(of_virtualenv, sort_keys=False),
    }
