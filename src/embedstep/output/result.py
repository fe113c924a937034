"""The values that cross from one process to another, each a small versioned JSON file."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from embedstep.errors import OUTCOMES

RESULT_FORMAT = "embedstep.result/1"
_NAMES_OF_0_1 = {
    "verdict": "skip_reason",
    "weights": "weights_sha256",
    "space": "embedding_space_id",
    "verification": "reload_cosine",
    "padding": "padding_share",
    "stopped": "stop_reason",
    "fate": "support",
}
"""Keys of a result and of its ledger in 0.1.0, and their current names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The first thing that went wrong in an attempt.

    Attributes:
        kind: class of the exception, or `signal`.
        message: what happened, in one or a few sentences.
        exit_code: code of the outcome contract.
        rank: process that failed first, or None when no worker was running.
        host: name of the machine that it ran on; empty where no worker was running.
        problems: every problem of a refused request or of refused data, as `path: message`.
        traceback: the frames, outermost first; empty for a person's mistake.
        log: the last lines that a rank without an exception has written.
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
class StepResult:
    """How a step ended.

    Attributes:
        exit_code: code of the outcome contract.
        output: the output folder.
        model: folder of the verified model; None unless the exit code is 0.
        metrics: evaluation metrics of the last evaluation and the trainer's summary, finite numbers only.
        request_fingerprint: digest of the request.
        skip_reason: why nothing was trained: `unchanged` when the champion has the same request and rows,
            `superseded` when the next scheduled retraining is due already; None when something was trained.
        champion: URI of the registered model that serves, where nothing was trained.
        run_id: MLflow run, if one was opened.
        tracking_uri: where that run is.
        incomplete_tracking: what could not be recorded, one sentence each.
        seconds: wall time of the parts of the step.
        versions: versions of the libraries that trained.
        reload_cosine: smallest cosine between the fixed texts' embeddings before saving and after loading again.
        dimension: numbers of an embedding of the model; None without a model.
        weights_sha256: SHA-256 of the model's files with weights.
        embedding_space_id: fingerprint of the model's embedding space.
        train_steps: train steps that the attempt has made.
        stop_reason: why the training has ended before its last step, or was not begun; None where it went to the end.
        padding_share: share of padding tokens in the first rank's batches, evaluations included; None when loader
            workers padded them, or nothing did.
        cost: hours of all attempts: `unit`, `hours`, `lost_hours` and `attempts`.
        ledger: for each training argument its name, value, source, support and what it did, after a training.
        alarms: numbers that have gone bad, and the train step of the first time.
        restarts: how often all processes were started again.
        node_rank: number of the node; only node 0 has a model, metrics and the first failure of all.
        failure: the first thing that went wrong, or None.
    """

    exit_code: int
    output: str
    model: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    request_fingerprint: str = ""
    skip_reason: str | None = None
    champion: str | None = None
    run_id: str | None = None
    tracking_uri: str | None = None
    incomplete_tracking: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    reload_cosine: float | None = None
    dimension: int | None = None
    weights_sha256: str | None = None
    embedding_space_id: str | None = None
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
    # What an earlier version wrote has fewer fields.
    data = with_current_names(data)
    values = {name: data[name] for name in StepResult.__slots__ if name in data}
    values["incomplete_tracking"] = tuple(values["incomplete_tracking"])
    values["ledger"] = tuple(values["ledger"])
    values["failure"] = failure_from_json(values["failure"]) if values["failure"] else None
    return StepResult(**values)


def with_current_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a result, or an entry of its ledger, under current names, even if 0.1.0 wrote it."""
    renamed = {_NAMES_OF_0_1.get(name, name): value for name, value in data.items()}
    if "ledger" in renamed:
        renamed["ledger"] = [with_current_names(entry) for entry in renamed["ledger"]]
    return renamed


def failure_from_json(data: Mapping[str, Any]) -> Failure:
    """Read a failure that was written with `dataclasses.asdict`."""
    lists = {name: tuple(data.get(name, ())) for name in ("problems", "traceback", "log")}
    return Failure(**{**data, **lists})


def write_json(path: Path, data: Any) -> None:
    """Write `data` as one JSON file, by `write_whole`."""
    write_whole(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the whole old one or the whole new one, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def read_json(path: Path) -> Any:
    """Read one JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def is_score(name: str) -> bool:
    """Whether a metric says how good the model is, rather than how long the evaluation took."""
    return name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))
