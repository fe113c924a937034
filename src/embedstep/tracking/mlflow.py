"""Runs in MLflow: the one file that imports it. Only the first rank gets here.

The client is used rather than the fluent interface, because that one keeps the active run in a global that any other
library in the process may change.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

try:
    import mlflow
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
    from mlflow.models import infer_signature
    from mlflow.tracking import MlflowClient
except ModuleNotFoundError as missing:
    if missing.name != "mlflow":
        raise
    from embedstep.errors import CannotStartError as _CannotStartError

    raise _CannotStartError(
        "tracking: mlflow is not installed; pip install 'embedstep[mlflow]', or write tracking: {kind: none}"
    ) from None

from embedstep.errors import CannotStartError, EmbedstepError, Problem, RefusedError
from embedstep.request.schema import Tracking
from embedstep.secrets import redact
from embedstep.tracking.names import entry_name, metric_name, shortened
from embedstep.tracking.run import Run, RunAddress, Status

_logger = logging.getLogger(__name__)
# Making a database and resolving paths is told at the INFO level, in the middle of the progress.
logging.getLogger("mlflow").setLevel(logging.WARNING)
_PARAMETERS_AT_ONCE = 100


def tracking_uri(tracking: Tracking, environ: Mapping[str, str]) -> str:
    """Return where to record: the request's URI, else the environment's, else a database in the current folder."""
    given = tracking.uri or environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    head, slashes, path = given.partition(":///")
    if head == "sqlite" and slashes and path and not path.startswith("/"):
        # The workers may be started elsewhere; and MLflow would place artifacts by the folder of each process.
        return f"sqlite:///{Path(path).absolute()}"
    return given


def new_run(tracking: Tracking) -> Run:
    """Open a run, and its experiment when there is none yet.

    Raises:
        CannotStartError: the tracking server does not answer.
        RefusedError: the server refused the experiment or the run.
    """
    uri = tracking_uri(tracking, os.environ)
    # An unreachable server is noticed in seconds here; MLflow's own default keeps trying for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, tracking.experiment, uri)
        run = client.create_run(
            experiment,
            run_name=tracking.run_name,
            tags={entry_name(name): text for name, text in tracking.tags.items()},
        )
    except EmbedstepError:
        raise
    except MlflowException as error:
        raise _as_ours(error, uri) from error
    except Exception as error:  # a database driver or a file system raises its own kinds
        raise CannotStartError(f"tracking: {_shown(uri)} does not answer: {_shown(str(error))}") from error
    return MlflowRun(client, RunAddress(kind="mlflow", uri=uri, run_id=run.info.run_id), tracking.register_as)


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Return the id of the experiment; a new one in a local database keeps its artifacts beside the database."""
    found = client.get_experiment_by_name(name)
    if found is None:
        is_local = uri.startswith("sqlite:////")
        beside = (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts").as_uri() if is_local else None
        return str(client.create_experiment(name, artifact_location=beside))
    if found.lifecycle_stage != "active":
        raise RefusedError(
            [Problem("tracking.experiment", f"{name!r} was deleted in MLflow; restore it or name another")]
        )
    return str(found.experiment_id)


def _as_ours(error: MlflowException, uri: str) -> Exception:
    message = _shown(str(error).splitlines()[0])
    if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED"):
        return RefusedError([Problem("tracking", f"MLflow at {_shown(uri)} refused: {message}")])
    return CannotStartError(f"tracking: MLflow at {_shown(uri)} does not answer: {message}")


def _shown(text: str) -> str:
    return redact(text, os.environ)


def end_run(address: RunAddress, status: Status) -> None:
    """Set the last status of a run whose process is gone.

    Raises:
        CannotStartError: the tracking server does not answer.
    """
    try:
        client = MlflowClient(tracking_uri=address.uri)
        if client.get_run(address.run_id).info.status != status:
            client.set_terminated(address.run_id, status)
    except Exception as error:
        raise CannotStartError(
            f"tracking: the run {address.run_id} could not be ended: {_shown(str(error))}"
        ) from error


class MlflowRun:
    """One open run."""

    def __init__(self, client: MlflowClient, address: RunAddress, register_as: str | None) -> None:
        self.address = address
        self.complaints: list[str] = []
        self._client = client
        self._register_as = register_as

    def _try(self, what: str, call: Callable[[], Any]) -> None:
        """Do one thing with the server. A training outlives its tracker: a failure is noted and shown, not raised."""
        try:
            call()
        except Exception as error:  # the server, the database and the artifact store each raise their own kinds
            first_line = next(iter(str(error).splitlines()), type(error).__name__)
            self.complaints.append(f"{what}: {_shown(first_line)}")
            _logger.warning("MLflow did not take %s: %s", what, _shown(first_line))

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Record parameters in batches; a value beyond MLflow's limit is cut and marked."""
        items = [Param(key, shortened(str(value))) for key, value in parameters.items()]
        for start in range(0, len(items), _PARAMETERS_AT_ONCE):
            batch = items[start : start + _PARAMETERS_AT_ONCE]
            self._try("parameters", lambda batch=batch: self._client.log_batch(self.address.run_id, params=batch))  # type: ignore[misc]

    def log_metrics(self, metrics: Mapping[str, float], *, train_step: int) -> None:
        """Record the finite ones; MLflow would keep NaN as 0 and infinity as the largest number."""
        now = int(time.time() * 1000)
        items = [
            Metric(metric_name(key), float(value), now, train_step)
            for key, value in metrics.items()
            if math.isfinite(value)
        ]
        self._try("metrics", lambda: self._client.log_batch(self.address.run_id, metrics=items))

    def log_files(self, files: Sequence[Path]) -> None:
        """Record files at the top of the run's artifacts."""
        for file in files:
            self._try(file.name, lambda file=file: self._client.log_artifact(self.address.run_id, str(file)))  # type: ignore[misc]

    def log_model(self, model: Any, *, example: Sequence[str], embeddings: Any) -> None:
        """Record the model in MLflow's sentence-transformers flavor.

        The requirements are given rather than inferred, which would load the model in another process, and exact, so
        that the model can be served later with what trained it.
        """
        self._try("the model", lambda: self._log_model(model, list(example), embeddings))

    def _log_model(self, model: Any, example: list[str], embeddings: Any) -> None:
        from mlflow import sentence_transformers as flavor

        mlflow.set_tracking_uri(self.address.uri)
        with mlflow.start_run(run_id=self.address.run_id):
            flavor.log_model(
                model,
                name="model",
                signature=infer_signature(example, embeddings),
                input_example=example,
                pip_requirements=_requirements(),
                registered_model_name=self._register_as,
            )
        # Leaving the block has ended the run; what comes after the model still belongs to it.
        self._client.update_run(self.address.run_id, status="RUNNING")

    def finish(self, status: Status) -> None:
        """End the run."""
        if self.complaints:
            tag = RunTag("embedstep.incomplete", shortened("; ".join(self.complaints)))
            self._try("a tag", lambda: self._client.log_batch(self.address.run_id, tags=[tag]))
        self._try("the end of the run", lambda: self._client.set_terminated(self.address.run_id, status))


def _requirements() -> list[str]:
    from importlib.metadata import version

    names = ("sentence-transformers", "transformers", "torch", "numpy")
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
