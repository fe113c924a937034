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
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import mlflow
import numpy as np
import yaml
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.utils import _save_example
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

from embedstep.tracking.spool import Entry

_T = TypeVar("_T")
_NAME = "model"
_UPLOADS = 8
FOLDER = "model.sentence_transformer"
"""Where the flavor keeps the sentence-transformers model among its own files."""
_PYTHON = ".".join(map(str, sys.version_info[:3]))
_ATTEMPT_TAG = "embedstep.attempt"


def log_model(client: MlflowClient, run: Run, attempt: int, entry: Entry, aside: Path, *, may_be_there: bool) -> None:
    """Upload the model, unless it is there, and register it as the entry says, unless it is.

    Args:
        client: of the server.
        run: the run that trained it.
        attempt: the attempt of that run that trained it.
        entry: `path`, `dimension`, `example`, `requirements`, `step`, `register_as`, `aliases` and `tags`.
        aside: folder for the files of MLflow's own.
        may_be_there: somebody may have begun with it before, so that the server is asked.
    """
    experiment = run.info.experiment_id
    run_id = run.info.run_id
    tags = {**entry["tags"], _ATTEMPT_TAG: str(attempt)}
    before = client.search_logged_models([experiment], f"source_run_id = '{run_id}'") if may_be_there else []
    same = [found for found in before if found.tags.get(_ATTEMPT_TAG) == tags[_ATTEMPT_TAG]]
    logged = same[0] if same else client.create_logged_model(experiment, _NAME, run_id, tags)
    if logged.status != LoggedModelStatus.READY:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=entry["step"])])
        folder = aside / "mlflow_model"
        shutil.rmtree(folder, ignore_errors=True)
        of_mlflow = Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id)
        write_model(folder, of_mlflow, entry)
        _upload(client, logged.model_id, folder)
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        shutil.rmtree(folder)
    if entry["register_as"]:
        _register(client, run_id, logged.model_id, entry, tags, may_be_there=may_be_there)


def _upload(client: MlflowClient, model_id: str, folder: Path) -> None:
    def upload(file: Path) -> None:
        inside = file.parent.relative_to(folder)
        client.log_model_artifact(model_id, str(file), None if inside == Path() else inside.as_posix())

    beside_each_other(upload, [file for file in folder.rglob("*") if file.is_file()])


def beside_each_other(upload: Callable[[Path], _T], files: Iterable[Path]) -> list[_T]:
    """Upload files at once, and return what came of each: a far server takes a while for each, however small."""
    with ThreadPoolExecutor(_UPLOADS) as pool:
        return [done.result() for done in [pool.submit(upload, file) for file in files]]


def _register(
    client: MlflowClient, run_id: str, model_id: str, entry: Entry, tags: Mapping[str, str], *, may_be_there: bool
) -> None:
    name, source = entry["register_as"], f"models:/{model_id}"
    before = client.search_model_versions(f"name = '{name}'") if may_be_there else []
    versions = [found for found in before if found.source == source]
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
    before = mlflow.get_tracking_uri()
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
