"""Recording of an attempt by the launcher: open the spool, start the sender, and wait until everything is sent."""

import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from embedstep.errors import INTERRUPTED, OK, CannotStartError, InvalidRequestError, StepInterruptedError
from embedstep.output.attempts import cost_metric
from embedstep.output.folder import OutputFolder
from embedstep.output.result import StepResult, is_complete
from embedstep.planning.plan import Plan, PlannedDataset
from embedstep.request.schema import TRACKING_RUN_ID, TRACKING_URI, Tracking, TrainRequest
from embedstep.request.trackers import MLFLOW, NONE
from embedstep.runtime.devices import usable_cores
from embedstep.runtime.process import LaunchCommand, ReceivedSignal, start_process
from embedstep.runtime.secrets import redact
from embedstep.tracking.environment import tracking_environ
from embedstep.tracking.names import MODEL_TAG, ROWS_TAG, SPACE_TAG, STEPS_METRIC, TRAINING_TAG, training_rows
from embedstep.tracking.sender import tracking_uri
from embedstep.tracking.spool import Spool, SpoolFolder, Status, new_spool, spools

_POLL = 0.1
_WAIT_SHARE = 0.01
_WAIT_SECONDS = (1.0, 60.0)


@dataclass(slots=True, kw_only=True)
class Recording:
    """Recording of an attempt. Without tracking there is no sender, and the methods do nothing.

    Attributes:
        request: the request.
        plan: plan of the request.
        received: first signal that the step receives.
        spool: spool of the attempt.
        sender: process that sends the spool.
        started: start of the attempt, on the monotonic clock.
    """

    request: TrainRequest
    plan: Plan
    received: ReceivedSignal
    spool: Spool = field(default_factory=lambda: Spool(folder=None))
    sender: "subprocess.Popen[bytes] | None" = None
    started: float = field(default_factory=time.monotonic)

    def require_open(self) -> None:
        """Wait until the run is open, if the request requires tracking.

        Raises:
            CannotStartError: the server does not answer.
            InvalidRequestError: the server refused the experiment or the run.
            StepInterruptedError: a signal arrived while waiting.
        """
        if self.sender is None or not self.request.tracking.required:
            return
        while not (sent := self._folder.sent).run_id:
            if sent.refused:
                raise InvalidRequestError.from_lines([sent.last_error])
            if sent.last_error:
                raise CannotStartError(sent.last_error)
            if self.received.number is not None:
                raise StepInterruptedError(self.received.number)
            if self.sender.poll() is not None:
                raise CannotStartError(f"tracking: the sender ended with code {self.sender.returncode}")
            time.sleep(_POLL)

    def give_up(self) -> None:
        """Kill the sender."""
        if self.sender is not None and self.sender.stdin is not None:
            self.sender.kill()
            self.sender.wait()
            self.sender.stdin.close()

    @property
    def _folder(self) -> SpoolFolder:
        assert self.spool.folder is not None
        return self.spool.folder

    def record(self, result: StepResult) -> None:
        """Record the result of the attempt, which is sent while the rest of the step runs."""
        if self.sender is None:
            return
        if result.cost:
            unit = cost_metric(result.cost["unit"])
            cost = {f"cost/{unit}": result.cost["hours"], f"cost/lost_{unit}": result.cost["lost_hours"]}
            cost |= {STEPS_METRIC: float(result.train_steps)}
            self.spool.metrics(cost, train_step=self.plan.train_steps)
        output = OutputFolder(Path(result.output))
        for file in (output.metrics, output.ledger, output.worker_result, output.error):
            if file.exists():
                self.spool.file(file)
        if result.model is None:
            return
        tracking = self.request.tracking
        self.spool.add(
            "register",
            weights=result.weights_sha256,
            register_as=tracking.register_as,
            aliases=list(tracking.aliases),
            tags={
                "embedstep.request_fingerprint": result.request_fingerprint,
                # A training that a time limit has stopped is not what the request describes.
                **({TRAINING_TAG: self.plan.trained_from} if is_complete(result.stop_reason) else {}),
                SPACE_TAG: str(result.embedding_space_id),
            },
        )

    def close(self, result: StepResult) -> StepResult:
        """Record the end, wait until it has arrived, and return the result with the run and what is missing.

        After a signal there is only the grace period, so the sender is killed in time, and the rest stays in the spool.
        """
        if self.sender is None:
            return result
        ended = time.monotonic()
        if (report := OutputFolder(Path(result.output)).report).exists():
            self.spool.file(report)
        self.spool.end(_status(result.exit_code), patience=self._patience)
        assert self.sender.stdin is not None
        self.sender.stdin.close()
        while self.sender.poll() is None:
            if time.monotonic() > self.received.since + self.request.launch.seconds_to_record:
                self.sender.kill()
            with suppress(subprocess.TimeoutExpired):
                self.sender.wait(_POLL)
        sent = self._folder.sent
        missing = [*result.incomplete_tracking, *self.spool.not_recorded, *sent.not_recorded]
        if not self._folder.is_sent:
            file_error = next((why for _, _, why in sent.deferred), "")
            reason = sent.last_error or file_error or f"the sender ended with code {self.sender.returncode}"
            missing.append(f"{reason}; run embedstep sync {result.output} to send the rest")
        run_id = sent.run_id if self.request.tracking.kind == MLFLOW else None
        seconds = {**result.seconds, "record": round(time.monotonic() - ended, 3)}
        return replace(
            result, run_id=run_id, tracking_uri=sent.uri, incomplete_tracking=tuple(missing), seconds=seconds
        )

    @property
    def _patience(self) -> float:
        """Seconds to wait for a server that does not answer: 1 % of the duration of the attempt."""
        least, most = _WAIT_SECONDS
        return min(max(least, _WAIT_SHARE * (time.monotonic() - self.started)), most)


def start_recording(
    request: TrainRequest, plan: Plan, folder: OutputFolder, *, resumes: bool, received: ReceivedSignal
) -> Recording:
    """Open the spool of an attempt and start the sender.

    Args:
        request: the request.
        plan: plan of the request.
        folder: the output folder.
        resumes: whether the attempt resumes from a checkpoint of the previous one.
        received: first signal that the step receives.

    Raises:
        CannotStartError: the disk cannot be written, or the request requires a server that does not answer.
        InvalidRequestError: the request requires a server that refused the run.
        StepInterruptedError: a signal arrived while waiting for the server.
    """
    recording = Recording(request=request, plan=plan, received=received)
    if request.tracking.kind == NONE:
        return recording
    before = next(reversed(spools(folder.path)), None)
    recording.spool = spool = Spool(folder=new_spool(folder.path))
    environ = tracking_environ()
    is_mlflow = request.tracking.kind == MLFLOW
    uri = tracking_uri(request.tracking, environ) if is_mlflow else request.tracking.uri or ""
    spool.add("start", **_describe_start(request, plan, uri, _choose_key(request, plan, before, resumes=resumes)))
    spool.add("datasets", values=[_describe_dataset(request, item) for item in plan.datasets])
    for file in (folder.request, folder.plan):
        spool.file(file)
    command = (sys.executable, "-m", "embedstep.tracking.sender", str(folder.path), uri)
    environ.pop(TRACKING_RUN_ID, None)
    keep_open = () if folder.lock is None else (folder.lock,)
    sender = LaunchCommand(argv=command, env=environ, keep_open=keep_open)
    recording.sender = start_process(sender, subprocess.DEVNULL)
    try:
        recording.require_open()
    except BaseException:
        recording.give_up()
        raise
    return recording


def describe_tracking(request: TrainRequest) -> str:
    """Say where the records of a run go, in a few words and without secrets."""
    tracking = request.tracking
    if tracking.kind == NONE:
        return "no tracking"
    if tracking.kind != MLFLOW:
        return f"records for {tracking.kind}"
    uri = redact(tracking_uri(tracking, tracking_environ()), os.environ)
    return f"records in MLflow at {uri}, experiment {tracking.experiment}"


def _choose_key(request: TrainRequest, plan: Plan, before: SpoolFolder | None, *, resumes: bool) -> str:
    """Return the key of the run: that of the previous attempt for a retry, else a new one."""
    if request.tracking.key is not None:
        return request.tracking.key
    start = before.start if before and before.status != "FINISHED" else None
    if start and (resumes or start["tags"]["embedstep.request_fingerprint"] == plan.request_fingerprint):
        return str(start["key"])
    return uuid.uuid4().hex


def _describe_start(request: TrainRequest, plan: Plan, uri: str, key: str) -> dict[str, Any]:
    tracking = request.named_tracking
    environ = tracking_environ()
    parent = environ.get(TRACKING_RUN_ID)
    # The open run is in the environment's server, which may not be that of the request.
    is_elsewhere = tracking.uri is not None and tracking_uri(
        Tracking(), {TRACKING_URI: tracking.uri, **environ}
    ).rstrip("/") != uri.rstrip("/")
    mode = tracking.mode if tracking.mode != "auto" else "attach" if parent and not is_elsewhere else "own"
    mode = mode if tracking.kind == MLFLOW else "own"
    tags = {
        "mlflow.source.name": "embedstep",
        "mlflow.source.type": "JOB",
        **_git_tags(),
        "embedstep.version": version("embedstep"),
        "embedstep.request_fingerprint": plan.request_fingerprint,
        TRAINING_TAG: plan.trained_from,
        **comparison_tags(request, plan),
        "embedstep.world_size": str(plan.world_size),
        "embedstep.hardware": f"{platform.machine()}, {usable_cores()} cores, {plan.gpus} GPUs",
        "embedstep.python": platform.python_version(),
        **tracking.tags,
    }
    return {
        "tracker": tracking.kind,
        "attempt": uuid.uuid4().hex[:8],
        "uri": redact(uri, os.environ),
        "mode": mode,
        "key": key,
        "run_id": None if mode == "own" else parent,
        "experiment": tracking.experiment,
        "run_name": tracking.run_name,
        "tags": tags,
    }


def comparison_tags(request: TrainRequest, plan: Plan) -> dict[str, str]:
    """Return the tags by which past runs are found to estimate a cost."""
    rows = training_rows([item.fingerprint for item in plan.datasets if item.split == "train"])
    return {MODEL_TAG: request.model.source, ROWS_TAG: rows}


def _git_tags() -> Mapping[str, str]:
    """Return the git commit of the current folder, if it is in a repository."""
    try:
        commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    tags = {"mlflow.source.git.commit": commit}
    return {**tags, "embedstep.git.changed": "true"} if changes else tags


def _git(*arguments: str) -> str:
    command = ("git", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()


def _describe_dataset(request: TrainRequest, item: PlannedDataset) -> dict[str, Any]:
    """Describe a dataset as an input of a run. `hf` and `local` are MLflow's names of source types."""
    given = getattr(request.data, item.split)[item.name]
    if given.hub is not None:
        source_type = "hf"
        source = {"path": given.hub, "config_name": given.subset, "split": given.split, "revision": given.revision}
    elif given.sql is not None:
        source_type, source = "sql", {"query": redact(given.sql, os.environ), "database": given.database}
    elif given.beir is not None:
        files = [given.beir.folder or "", given.beir.queries or "", given.beir.corpus or "", given.beir.qrels or ""]
        uri = redact(", ".join(filter(None, files)), os.environ)
        source_type, source = "local", {"uri": uri, "split": given.split}
    else:
        paths = given.path or [f"made by {given.rows.kind}" if given.rows is not None else ""]
        source_type, source = "local", {"uri": redact(", ".join(paths), os.environ)}
    return {
        "name": f"{item.split}.{item.name}", "fingerprint": item.fingerprint, "source_type": source_type,
        "source": {**source, "as_of": request.data.as_of}, "context": item.split,
        "profile": {
            "num_rows": item.rows, "columns": list(item.columns), "duplicate_rows": item.duplicate_rows,
            "overlapping_rows": item.overlapping_rows,
        },
    }  # fmt: skip


def _status(exit_code: int) -> Status:
    return "FINISHED" if exit_code == OK else "KILLED" if exit_code == INTERRUPTED else "FAILED"
