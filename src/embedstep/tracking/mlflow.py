"""Runs in MLflow, filled by the sender during a training. Only the files `mlflow*.py` import MLflow.

We use the client rather than the fluent interface, which keeps the active run in a global that any library in the
process may change.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
except ModuleNotFoundError as missing:
    if missing.name != "mlflow":
        raise
    from embedstep.errors import CannotStartError as _CannotStartError

    raise _CannotStartError(
        "tracking: mlflow is not installed; pip install 'embedstep[mlflow]', or write tracking: {kind: none}"
    ) from None

from embedstep.errors import CannotStartError, EmbedstepError, InvalidRequestError, Problem
from embedstep.runtime.secrets import redact
from embedstep.runtime.text import redacted_first_line
from embedstep.tracking.database import database_folder, sqlite_lock
from embedstep.tracking.mlflow_model import ModelInRun, in_parallel, locate_model
from embedstep.tracking.names import PARAMETER_LIMITS, TRAINING_TAG, entry_name, metric_name, shortened
from embedstep.tracking.spool import Entry, SpoolFolder

# At INFO level MLflow logs the creation of a database in the middle of our progress.
logging.getLogger("mlflow").setLevel(logging.WARNING)
_KEY_TAG = "embedstep.run_key"
_ATTEMPTS_TAG = "embedstep.attempt_ids"
_ENTRY_ERRORS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}
"""Error codes that concern one entry. Any other error prevents all entries from being sent."""
_REFUSED = {
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_STATE",
}
_BATCH = 100


class Tracker:
    """One MLflow run that the sender fills.

    Every method raises `CannotStartError` if the server, its database or its artifact store does not answer, and
    `InvalidRequestError` if only a person can help: a missing permission, a deleted experiment or run.
    """

    def __init__(self, uri: str, spool: SpoolFolder) -> None:
        """Create the client, without a request to the server.

        Args:
            uri: tracking URI.
            spool: spool to send.
        """
        self._uri = self.uri = uri
        self._spool = spool
        self._client = open_client(uri)
        sent = spool.sent
        self.run_id, self.attempt = sent.run_id or "", sent.attempt
        self._logged: dict[str, set[int]] = {}
        # A new sender continues where the previous one stopped.
        self._has_history = bool(self.run_id)
        self._run: Run | None = None
        self._model = ModelInRun(self._client, may_be_there=True, is_settled=spool.has_sent("model"))

    def open(self, start: Entry) -> None:
        """Find the run by its key, or create it.

        Args:
            start: entry that identifies the run.
        """
        with translate_errors(self._uri):
            self._run = run = (
                self._require_active(start["run_id"]) if start["mode"] == "attach" else self._find_or_create(start)
            )
            self.run_id = str(run.info.run_id)
            # Metrics of another training in the same run do not count.
            self._has_history = run.data.tags.get(TRAINING_TAG) == start["tags"].get(TRAINING_TAG)
            attempts = run.data.tags.get(_ATTEMPTS_TAG, "").split()
            attempts += [] if start["attempt"] in attempts else [start["attempt"]]
            self.attempt = attempts.index(start["attempt"]) + 1
            tags = {entry_name(name): text for name, text in start["tags"].items()}
            tags |= {_ATTEMPTS_TAG: " ".join(attempts), "embedstep.attempts": str(len(attempts))}
            self._client.log_batch(self.run_id, tags=[RunTag(name, text) for name, text in tags.items()])

    def _require_active(self, run_id: str) -> Run:
        run = self._client.get_run(run_id)
        if run.info.lifecycle_stage != "active":
            raise InvalidRequestError(
                [Problem("tracking", f"the run {run_id} was deleted in MLflow; restore it first")]
            )
        return run

    def _find_or_create(self, start: Entry) -> Run:
        experiment = self._experiment(start["experiment"])
        found = self._client.search_runs([experiment], f"tags.`{_KEY_TAG}` = '{start['key']}'", max_results=1)
        if found:
            # An ended run does not become active by itself.
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0]
        parent = {"mlflow.parentRunId": start["run_id"]} if start["mode"] == "nest" else {}
        tags = {_KEY_TAG: start["key"], **parent}
        self._model = ModelInRun(self._client, may_be_there=False, is_settled=False)
        return self._client.create_run(experiment, start_time=start["at"], run_name=start["run_name"], tags=tags)

    def _experiment(self, name: str) -> str:
        """Return the id of the experiment. With a local database, artifacts are stored next to it."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            folder = database_folder(self._uri)
            artifacts = None if folder is None else (folder / "mlartifacts").as_uri()
            return str(self._client.create_experiment(name, artifact_location=artifacts))
        if found.lifecycle_stage != "active":
            message = f"{name!r} was deleted in MLflow; restore it or choose another"
            raise InvalidRequestError([Problem("tracking.experiment", message)])
        return str(found.experiment_id)

    def answers(self) -> bool:
        """Whether the server answers and knows the run."""
        try:
            with translate_errors(self._uri):
                self._client.get_run(self.run_id)
        except EmbedstepError:
            return False
        return True

    def deliver(self, entries: Sequence[Entry]) -> list[str]:
        """Send entries of one kind, and return messages about entries that the server rejects for good."""
        deliver = {
            "metrics": self._metrics,
            "parameters": self._parameters,
            "datasets": self._datasets,
            "file": self._files,
            "model": self._models,
            "register": self._register,
            "end": self._end,
        }[entries[0]["kind"]]
        with translate_errors(self._uri):
            return list(deliver(entries))

    def _metrics(self, entries: Sequence[Entry]) -> Iterator[str]:
        metrics, once = [], set()
        for entry in entries:
            for name, value in entry["values"].items():
                metric = Metric(metric_name(name), value, entry["at"], entry["step"])
                point = metric.key, metric.step
                if entry.get("once"):
                    if point in once or metric.step in self._steps_logged(metric.key):
                        continue
                    once.add(point)
                metrics.append(metric)
        if metrics:
            yield from self._try("metrics", lambda: self._client.log_batch(self.run_id, metrics=metrics))
        for name, step in once:
            self._logged[name].add(step)

    def _steps_logged(self, name: str) -> set[int]:
        """Return the steps of a metric that the training has already logged, possibly after its last checkpoint."""
        if name not in self._logged:
            history = self._client.get_metric_history(self.run_id, name) if self._has_history else []
            self._logged[name] = {point.step for point in history}
        return self._logged[name]

    def _datasets(self, entries: Sequence[Entry]) -> Iterator[str]:
        inputs = [_dataset(item) for entry in entries for item in entry["values"]]
        yield from self._try("datasets", lambda: self._client.log_inputs(self.run_id, inputs))

    def _files(self, entries: Sequence[Entry]) -> Iterator[str]:
        files = [self._spool.files / name for name in dict.fromkeys(entry["name"] for entry in entries)]
        for messages in in_parallel(lambda file: list(self._file(file)), files):
            yield from messages

    def _models(self, entries: Sequence[Entry]) -> Iterator[str]:
        entry = entries[-1]
        others = {one["kind"]: one for one, _ in self._spool.read()}
        if "end" in others and "register" not in others:
            self._model.mark_missing(self._known_run(), self.attempt)
            return  # the training failed, so its model is not registered
        path = locate_model(entry, others["register"]["weights"] if "register" in others else None)
        if path is None:
            self._model.mark_missing(self._known_run(), self.attempt)
            yield f"the model: {entry['published']} was removed or replaced"
            return
        run = self._known_run()
        yield from self._try("the model", lambda: self._model.upload(run, self.attempt, entry, path, self._spool.path))

    def _known_run(self) -> Run:
        """Return the run that was opened here, or fetch one that another sender has opened."""
        return self._run or self._client.get_run(self.run_id)

    def _register(self, entries: Sequence[Entry]) -> Iterator[str]:
        run = self._known_run()
        yield from self._try("the model", lambda: self._model.register(run, self.attempt, entries[-1]))

    def _try(self, what: str, call: Any) -> Iterator[str]:
        try:
            call()
        except MlflowException as error:
            if error.error_code not in _ENTRY_ERRORS:
                raise
            # The same error code also means that the run was deleted.
            self._require_active(self.run_id)
            yield f"{what}: {redacted_first_line(error)}"

    def _parameters(self, entries: Sequence[Entry]) -> Iterator[str]:
        """Record parameters, shortened to the server's limit. Those that differ from an earlier attempt go to a tag."""
        values: dict[str, str] = {name: value for entry in entries for name, value in entry["values"].items()}
        for limit in PARAMETER_LIMITS:
            items = [Param(name, shortened(value, limit)) for name, value in values.items()]
            messages = list(self._try("parameters", lambda items=items: self._log_parameters(items)))
            if not messages:
                return
        before = self._client.get_run(self.run_id).data.params
        changed = {name: value for name, value in values.items() if not _is_kept(value, before.get(name))}
        if not changed:
            yield from messages
            return
        yield from self._try("parameters", lambda: self._log_parameters([p for p in items if p.key not in changed]))
        text = shortened(json.dumps(changed, ensure_ascii=False))
        tag = RunTag(f"embedstep.attempt.{self.attempt}.changed_parameters", text)
        self._client.log_batch(self.run_id, tags=[tag])
        file = self._spool.files / "parameters.json"
        file.write_text(json.dumps(dict(values), indent=2, ensure_ascii=False))
        yield from self._file(file, f"attempts/{self.attempt}")

    def _log_parameters(self, items: Sequence[Param]) -> None:
        for start in range(0, len(items), _BATCH):
            self._client.log_batch(self.run_id, params=items[start : start + _BATCH])

    def _file(self, file: Path, folder: str | None = None) -> Iterator[str]:
        if file.exists():
            yield from self._try(file.name, lambda: self._client.log_artifact(self.run_id, str(file), folder))
        else:
            yield f"{file.name}: the file was removed"

    def _end(self, ends: Sequence[Entry]) -> Iterator[str]:
        """Check which metrics have arrived, then end the run, unless someone else opened it."""
        entries = [entry for entry, _ in self._spool.read()]
        names = sorted({name for entry in entries if entry["kind"] == "metrics" for name in entry["values"]})
        for messages in in_parallel(lambda check: list(check(names)), (self._renamed, self._missing)):
            yield from messages
        if ends[-1]["status"] != "FINISHED":
            self._model.give_up(self._known_run(), self.attempt)
        if next(entry["mode"] for entry in entries if entry["kind"] == "start") != "attach":
            self._client.set_terminated(self.run_id, ends[-1]["status"], end_time=ends[-1]["at"])

    def _renamed(self, names: Sequence[str]) -> Iterator[str]:
        if renamed := {metric_name(name): name for name in names if metric_name(name) != name}:
            file = self._spool.files / "metric_names.json"
            file.write_text(json.dumps(renamed, indent=2))
            yield from self._file(file)

    def _missing(self, names: Sequence[str]) -> Iterator[str]:
        there = self._client.get_run(self.run_id).data.metrics
        if missing := [name for name in names if metric_name(name) not in there]:
            yield f"metrics: {', '.join(missing)} did not arrive"


def open_client(uri: str) -> MlflowClient:
    """Create a client, and a local database if it does not exist.

    Raises:
        CannotStartError: a local database cannot be opened.
    """
    _limit_retries()
    with translate_errors(uri), sqlite_lock(uri):
        return MlflowClient(tracking_uri=uri)


def _limit_retries() -> None:
    """Make MLflow give up on a request soon, unless the user has set that; by default it retries for minutes.

    The sender retries by itself, with longer pauses.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0.1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Convert errors of MLflow, a database driver or an artifact store.

    Args:
        uri: tracking URI.

    Raises:
        CannotStartError: something did not answer.
        InvalidRequestError: the server refused, and only a person can help.
    """
    try:
        yield
    except EmbedstepError:
        raise
    except Exception as error:
        shown = redact(uri, os.environ)
        code = error.error_code if isinstance(error, MlflowException) else ""
        if code in _REFUSED or code in _ENTRY_ERRORS:
            message = f"MLflow at {shown} refused: {redacted_first_line(error)}"
            raise InvalidRequestError([Problem("tracking", message)]) from error
        raise CannotStartError(f"tracking: MLflow at {shown} does not answer: {redacted_first_line(error)}") from error


def _is_kept(value: str, before: str | None) -> bool:
    return before is None or before in {shortened(value, limit) for limit in PARAMETER_LIMITS}


def _dataset(item: Mapping[str, Any]) -> DatasetInput:
    dataset = Dataset(
        name=item["name"],
        digest=item["fingerprint"][:36],
        source_type=item["source_type"],
        source=json.dumps(item["source"]),
        profile=json.dumps(item["profile"]),
    )
    return DatasetInput(dataset=dataset, tags=[InputTag("mlflow.data.context", item["context"])])
