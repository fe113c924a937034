"""The trained model in MLflow: written in the sentence-transformers flavor without loading it, and registered.

MLflow's own `log_model` needs the model in memory, and so torch in the sender; it also fetches the history of every
metric. The files are the same, as a test checks.
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
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from embedstep.errors import CannotStartError
from embedstep.output.weights import weights_digest
from embedstep.tracking.spool import Entry

_T = TypeVar("_T")
_Item = TypeVar("_Item")
_NAME = "model"
_THREADS = 16
_LARGE = 1_000_000
"""Bytes from which a file is linked into a local store: no one edits such a file in place, as one may edit a card."""
FOLDER = "model.sentence_transformer"
"""Folder of the sentence-transformers model among the files of the flavor."""
_PYTHON = ".".join(map(str, sys.version_info[:3]))
_ATTEMPT_TAG = "embedstep.attempt"
EXISTS, MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"
"""Error codes of MLflow's servers."""


class ModelInRun:
    """The model of one attempt in MLflow: its files are uploaded first, and it is registered once it is verified.

    Uploading may take long, and runs while the model is being verified.
    """

    def __init__(self, client: MlflowClient, *, may_be_there: bool, is_settled: bool) -> None:
        """Take the client, without a request to the server.

        Args:
            client: client of the server.
            may_be_there: whether an upload may have started earlier, so that the server must be asked.
            is_settled: whether the files have arrived, or were reported as missing.
        """
        self._client = client
        self._may_be_there = may_be_there
        self._logged: Any = None
        self._is_settled = is_settled

    def upload(self, run: Run, attempt: int, entry: Entry, path: Path, work: Path) -> None:
        """Upload the files of the model, unless they are there.

        Args:
            run: run that trained it.
            attempt: attempt of that run.
            entry: `dimension`, `example`, `requirements` and `step`.
            path: current folder of the model.
            work: folder for MLflow's own files.
        """
        run_id = run.info.run_id
        begun = self._found(run, attempt)
        self._logged = logged = begun or self._client.create_logged_model(
            run.info.experiment_id, _NAME, run_id, {_ATTEMPT_TAG: str(attempt)}
        )
        # A retry will find the model that was created.
        self._may_be_there = True
        if logged.status != LoggedModelStatus.READY:
            folder = work / "mlflow_model"
            shutil.rmtree(folder, ignore_errors=True)
            metadata = Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id)
            try:
                write_model(folder, metadata, {**entry, "path": path})
            except OSError:
                if path.exists():
                    raise
                # The model was verified meanwhile, and its folder renamed.
                shutil.rmtree(folder, ignore_errors=True)
                write_model(folder, metadata, {**entry, "path": entry["published"]})
            requests = _list_uploads(self._client, logged, folder)
            # A server refuses a second output with the same id.
            if begun is None or not self._is_output(run_id, logged.model_id):
                output = LoggedModelOutput(logged.model_id, step=entry["step"])
                requests.append(lambda: self._client.log_outputs(run_id, [output]))
            in_parallel(lambda request: request(), requests)
            shutil.rmtree(folder)
        self._is_settled = True

    def mark_missing(self, run: Run, attempt: int) -> None:
        """Note that the model can no longer be sent, which has been reported."""
        self.give_up(run, attempt)
        self._is_settled = True

    def register(self, run: Run, attempt: int, entry: Entry) -> None:
        """Mark the model as ready, and register it, unless that is done.

        Args:
            run: run that trained it.
            attempt: attempt of that run.
            entry: `register_as`, `aliases` and `tags`.

        Raises:
            CannotStartError: the files have not been uploaded yet.
        """
        if not self._is_settled:
            raise CannotStartError("the files of the model have not been uploaded yet")
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
        """Mark the model of a failed attempt as failed."""
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


def locate_model(entry: Entry, weights: str | None) -> Path | None:
    """Return the current folder of a recorded model, or None if it is gone.

    The folder is renamed after verification, and a later attempt may have replaced either.

    Args:
        entry: `path` and `published`.
        weights: digest of the weights, or None if the attempt is still running.
    """
    folders = [folder for folder in (Path(entry["path"]), Path(entry["published"])) if folder.is_dir()]
    if weights is None:
        folders = [folder for folder in folders if str(folder) == entry["path"]]
    return next((folder for folder in folders if weights is None or weights_digest(folder) == weights), None)


def _list_uploads(client: MlflowClient, logged: LoggedModel, folder: Path) -> list[Callable[[], None]]:
    # The client's own method would fetch the logged model again before each file.
    store = get_artifact_repository(logged.artifact_location, tracking_uri=client.tracking_uri)

    def upload(file: Path) -> None:
        inside = file.parent.relative_to(folder)
        if isinstance(store, LocalArtifactRepository) and file.stat().st_size >= _LARGE:
            target = Path(store.artifact_dir) / inside
            target.mkdir(parents=True, exist_ok=True)
            _link(str(file), str(target / file.name))
            return
        store.log_artifact(str(file), None if inside == Path() else inside.as_posix())

    return [partial(upload, file) for file in folder.rglob("*") if file.is_file()]


def in_parallel(send: Callable[[_Item], _T], items: Iterable[_Item]) -> list[_T]:
    """Send items in threads, because a distant server takes a while for each of them, and return the results."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return [done.result() for done in [pool.submit(send, item) for item in items]]


def _register(client: MlflowClient, run_id: str, model_id: str, entry: Entry, tags: Mapping[str, str]) -> None:
    name, source = entry["register_as"], f"models:/{model_id}"
    versions = [found for found in client.search_model_versions(f"name = '{name}'") if found.source == source]
    if not versions:
        with allow_error(EXISTS):
            client.create_registered_model(name)
        with default_uri(client.tracking_uri):
            versions = [client.create_model_version(name, source, run_id=run_id, tags=tags, model_id=model_id)]
    for alias in entry["aliases"]:
        client.set_registered_model_alias(name, alias, versions[0].version)


@contextmanager
def allow_error(*codes: str) -> Iterator[None]:
    """Leave the block without an error if MLflow's server answers with one of these error codes."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


@contextmanager
def default_uri(uri: str) -> Iterator[None]:
    """Set MLflow's global URI, which it uses to find the files of a model version, whatever URI the client has."""
    # Unset it again if it was unset: MLflow stores it in the environment, for other processes too.
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def write_model(folder: Path, metadata: Model, entry: Entry) -> None:
    """Write a model in MLflow's sentence-transformers flavor.

    The layout is that of `mlflow.sentence_transformers.save_model` in MLflow 3. Weights are hard-linked if the file
    system allows it.

    Args:
        folder: target folder, which must not exist.
        metadata: MLflow's metadata of the model, completed and saved here.
        entry: `path`, `dimension`, `example` and `requirements`.
    """
    shutil.copytree(entry["path"], folder / FOLDER, copy_function=_link)
    _save_example(metadata, entry["example"], str(folder))
    metadata.signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, entry["dimension"]))]),
    )
    metadata.add_flavor(
        "python_function",
        loader_module="mlflow.sentence_transformers",
        python_version=_PYTHON,
        data=FOLDER,
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    )
    metadata.add_flavor("sentence_transformers", sentence_transformers_version=_version(entry), code=None)
    metadata.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    for name, text in _environment([f"mlflow=={version('mlflow')}", *entry["requirements"]]).items():
        (folder / name).write_text(text, encoding="utf-8")
    metadata.save(str(folder / "MLmodel"))


def _link(source: str, target: str) -> None:
    """Link a file, so that it takes no more disk; copy it where that cannot be done."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _version(entry: Entry) -> str:
    """Return the version of sentence-transformers that trained."""
    pinned = dict(line.partition("==")[::2] for line in entry["requirements"])
    return str(pinned["sentence-transformers"])


def _environment(requirements: list[str]) -> dict[str, str]:
    """Return the files with the requirements of the model, for pip, virtualenv and conda."""
    conda: dict[str, Any] = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={_PYTHON}", "pip", {"pip": requirements}],
    }
    virtualenv = {
        "python": _PYTHON,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    return {
        "requirements.txt": "\n".join(requirements) + "\n",
        "conda.yaml": yaml.safe_dump(conda, sort_keys=False),
        "python_env.yaml": yaml.safe_dump(virtualenv, sort_keys=False),
    }
