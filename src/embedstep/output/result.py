"""The result of a step, and reading and writing of JSON files."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from embedstep.errors import OUTCOMES

RESULT_FORMAT = "embedstep.result/1"
_NAMES_OF_0_1 = {
    "fate": "support",
    "verdict": "skip_reason",
    "weights": "weights_sha256",
    "space": "embedding_space_id",
    "verification": "reload_cosine",
    "padding": "padding_share",
    "stopped": "stop_reason",
}
"""Current names of the keys of a result and its ledger in 0.1.0."""


EARLY_STOPPING = "early_stopping"
"""Begin of `stop_reason` where the request's own section has ended the training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The first failure of an attempt.

    Attributes:
        kind: class of the exception, or `signal`.
        message: the cause, in one or a few sentences.
        exit_code: exit code of the step.
        rank: rank that failed first, or None if no worker was running.
        host: name of that rank's host; empty if no worker was running.
        problems: all problems of a refused request or of refused data, as `path: message`.
        traceback: the frames, outermost first; empty for a mistake in the request.
        log: last lines of the output of a rank that failed without an exception.
    """

    kind: str
    message: str
    exit_code: int
    rank: int | None = None
    host: str = ""
    problems: tuple[str, ...] = ()
    traceback: tuple[str, ...] = ()
    log: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """How far a training has moved the model, by at most 4,096 weights of each tensor and 256 texts.

    Attributes:
        weights_changed: share of the weights that changed; None where no tensor can be compared.
        weights_moved: norm of the change, divided by the norm of the weights before.
        mean_cosine: mean cosine of the same texts before and after; None for another dimension.
        texts: number of these texts.
        is_still: whether the texts have the embeddings that they had before.
    """

    weights_changed: float | None
    weights_moved: float | None
    mean_cosine: float | None
    texts: int
    is_still: bool

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers as metrics for a tracker."""
        named = {"weights_changed": self.weights_changed, "weights_moved": self.weights_moved}
        found = {**named, "base_cosine": self.mean_cosine}
        return {f"movement/{name}": value for name, value in found.items() if value is not None}

    @property
    def text(self) -> str:
        """The numbers in a sentence."""
        parts = []
        if self.weights_changed is not None and self.weights_moved is not None:
            parts.append(
                f"{self.weights_changed:.1%} of the weights changed, by {self.weights_moved:.2%} of their norm"
            )
        if self.mean_cosine is not None:
            parts.append(f"mean cosine with the base {self.mean_cosine:.4f} over {self.texts} texts")
        return "; ".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A metric of an evaluator before and after a training.

    Attributes:
        before: its value for the base model.
        after: its value for the published model.
        low: lower end of the 95 % confidence interval of the difference; None without a score for each query.
        high: upper end of the interval.
        is_worse: whether it is the main metric of its evaluator and the training made it worse: significantly, where
            there is an interval.
    """

    before: float
    after: float
    low: float | None = None
    high: float | None = None
    is_worse: bool = False

    @property
    def interval(self) -> str:
        """The confidence interval as text; empty without one."""
        return "" if self.low is None or self.high is None else f"{self.low:+.4f} to {self.high:+.4f}"


def worse_metrics(changes: Mapping[str, Change]) -> str:
    """Name the main metrics that a training made worse, in a sentence; empty if there are none."""
    shown = [
        f"{name.removeprefix('eval_')} {change.after:.4f}, base {change.before:.4f}"
        for name, change in changes.items()
        if change.is_worse
    ]
    return f"worse than the base: {'; '.join(shown)}" if shown else ""


def change_metrics(changes: Mapping[str, Change]) -> dict[str, float]:
    """Return the differences as metrics for a tracker."""
    return {f"change/{name.removeprefix('eval_')}": change.after - change.before for name, change in changes.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """The result of a step.

    Attributes:
        exit_code: exit code.
        output: the output folder.
        model: folder of the verified model; None unless the exit code is 0.
        metrics: evaluation metrics of the last evaluation and the trainer's summary, finite numbers only.
        changes: each metric of the evaluators for the base and for the published model.
        request_fingerprint: digest of the request.
        skip_reason: why nothing was trained: `unchanged` when the champion has the same request and rows,
            `superseded` when the next scheduled retraining is due already; None when something was trained.
        champion: URI of the production model, if nothing was trained.
        run_id: MLflow run, if one was opened.
        tracking_uri: tracking server of that run.
        incomplete_tracking: messages about records that could not be sent.
        seconds: wall time of the parts of the step.
        versions: versions of the libraries that trained.
        reload_cosine: smallest cosine similarity between embeddings of fixed texts before saving and after reloading.
        movement: how far the published model moved from the one before training; None without a training.
        dimension: dimension of the model's embeddings; None without a model.
        weights_sha256: SHA-256 of the model's files with weights.
        embedding_space_id: fingerprint of the model's embedding space.
        recorded_anchors: number of different training anchors whose hashes are with the model; None without them.
        train_steps: number of train steps of the attempt.
        stop_reason: why training ended before its last step, or did not begin; None if it was completed.
        padding_share: share of padding tokens in rank 0's batches, also of evaluations; None if loader workers padded
            them, or nothing did.
        cost: hours of all attempts: `unit`, `hours`, `lost_hours` and `attempts`.
        ledger: name, value, source, support and effect of each training argument, after a training.
        alarms: the train step of the first alarm of each kind (`launch.stop_on`).
        restarts: number of restarts of all processes.
        node_rank: rank of the node; only node 0 has a model, metrics and the first failure of all.
        failure: the first failure, or None.
    """

    exit_code: int
    output: str
    model: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    request_fingerprint: str = ""
    skip_reason: str | None = None
    champion: str | None = None
    run_id: str | None = None
    tracking_uri: str | None = None
    incomplete_tracking: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    reload_cosine: float | None = None
    movement: Movement | None = None
    dimension: int | None = None
    weights_sha256: str | None = None
    embedding_space_id: str | None = None
    recorded_anchors: int | None = None
    train_steps: int = 0
    stop_reason: str | None = None
    padding_share: float | None = None
    cost: Mapping[str, Any] = field(default_factory=dict)
    ledger: tuple[Mapping[str, Any], ...] = ()
    alarms: Mapping[str, int] = field(default_factory=dict)
    restarts: int = 0
    node_rank: int = 0
    failure: Failure | None = None

    @property
    def outcome(self) -> str:
        """The exit code as a word."""
        return OUTCOMES[self.exit_code]

    @property
    def untrained_reason(self) -> str:
        """Why nothing was trained, for a result with a `skip_reason`."""
        return self.stop_reason or f"{self.champion} was trained from the same request and rows"

    @property
    def worse_than_base(self) -> str:
        """The main metrics that the training made worse, in a sentence; empty if there are none."""
        return worse_metrics(self.changes)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `result.json`; `result_from_json` reads it back equal."""
        return {"format": RESULT_FORMAT, "outcome": self.outcome, **asdict(self)}


def result_from_json(data: Mapping[str, Any]) -> StepResult:
    """Read what `StepResult.to_json` wrote.

    Raises:
        ValueError: the data was written by another version.
    """
    if data.get("format") != RESULT_FORMAT:
        raise ValueError(f"this result has the format {data.get('format')!r}, not {RESULT_FORMAT!r}")
    # Earlier versions wrote fewer fields.
    data = with_current_names(data)
    values = {name: data[name] for name in StepResult.__slots__ if name in data}
    values["incomplete_tracking"] = tuple(values["incomplete_tracking"])
    values["ledger"] = tuple(values["ledger"])
    values["movement"] = Movement(**values["movement"]) if values.get("movement") else None
    values["changes"] = {name: Change(**change) for name, change in values.get("changes", {}).items()}
    values["failure"] = failure_from_json(values["failure"]) if values["failure"] else None
    return StepResult(**values)


def with_current_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored result, or an entry of its ledger, with the current names of its keys."""
    renamed = {_NAMES_OF_0_1.get(name, name): value for name, value in data.items()}
    if "ledger" in renamed:
        renamed["ledger"] = [with_current_names(entry) for entry in renamed["ledger"]]
    return renamed


def failure_from_json(data: Mapping[str, Any]) -> Failure:
    """Read a failure that was written with `dataclasses.asdict`."""
    lists = {name: tuple(data.get(name, ())) for name in ("problems", "traceback", "log")}
    return Failure(**{**data, **lists})


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file, by `write_atomically`."""
    write_atomically(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old or the new content, never a part."""
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    staging.write_text(text, encoding="utf-8")
    staging.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_json_or_empty(path: Path) -> Any:
    """Read a JSON file, or return an empty mapping if there is no such file."""
    return read_json(path) if path.is_file() else {}


def is_complete(stop_reason: str | None) -> bool:
    """Whether a training has made all steps that its request describes.

    Args:
        stop_reason: why it ended before its last step, as in a result.
    """
    return stop_reason is None or stop_reason.startswith(EARLY_STOPPING)


def is_score(name: str) -> bool:
    """Whether a metric measures the model's quality, and not the evaluation's speed."""
    return name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))
