"""The steps: each runs the verb that a container of the same name runs, in processes of its own where it trains."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from zenml import ArtifactConfig, get_step_context, log_metadata, step
from zenml.enums import ArtifactType
from zenml.types import CSVString, HTMLString

from embedstep import __version__
from embedstep.errors import OK
from embedstep.launch.failures import RunFailedError
from embedstep.orchestration import verbs
from embedstep.orchestration.components import EVALUATE, PREPARE, PROMOTE, TRAIN
from embedstep.orchestration.task import request_of, task_of
from embedstep.orchestration.zenml.artifacts import Embedder, EmbedderMaterializer, Rows, RowsMaterializer
from embedstep.orchestration.zenml.parameters import TrainingArguments
from embedstep.orchestration.zenml.tracker import recorded_like, recorded_with_the_step
from embedstep.output.weights import base_digest
from embedstep.request.schema import Model


def _path(rows: Rows | None) -> Path | None:
    return None if rows is None else rows.path


@step(enable_cache=False, output_materializers={"train_rows": RowsMaterializer, "eval_rows": RowsMaterializer})
def prepare_data(
    request: str, as_of: str | None = None, eval_share: float = 0.0, seed: int = 42
) -> tuple[Annotated[Rows, "train_rows"], Annotated[Rows, "eval_rows"], Annotated[dict[str, Any], "prepared"]]:
    """Read the rows of a request, leave out what repeats, and hold a share out.

    It runs each time, because the same address may have other rows by now; a training that gets the rows and what was
    found (`prepared`, with the digest of the base model and our version) may be taken from the cache.

    Args:
        request: the request, as YAML or JSON.
        as_of: up to when the data counts, over data.as_of.
        eval_share: share of the anchors that is held out of a dataset without rows to evaluate with.
        seed: another number holds out other anchors.

    Raises:
        EmbedstepError: with every problem of the request and its data.
    """
    kept = TemporaryDirectory(prefix="embedstep-")
    folder = Path(kept.name)
    parameters = {"request": request, "as_of": as_of, "eval_share": eval_share, "seed": seed}
    task = task_of(PREPARE, folder, parameters, {})
    prepared = verbs.prepare_data(task)
    train = Rows(path=folder / "train_rows", fingerprint=prepared.fingerprint_of("train"), kept=kept)
    held_out = Rows(path=folder / "eval_rows", fingerprint=prepared.fingerprint_of("eval"), kept=kept)
    return train, held_out, {**prepared.to_json(), **_beside_rows(request_of(task, PREPARE).model)}


def _beside_rows(model: Model) -> dict[str, Any]:
    """Return what a training depends on besides request and rows; weights on the hub are told by their revision."""
    source = Path(model.source).expanduser()
    return {"base": base_digest(source) if source.exists() else None, "version": __version__}


@step(enable_cache=False, output_materializers={"model": EmbedderMaterializer})
def train_embedder(
    request: str,
    train_data: Rows | None = None,
    eval_data: Rows | None = None,
    base_model: Embedder | None = None,
    as_of: str | None = None,
    arguments: TrainingArguments | None = None,  # type: ignore[valid-type]
    prepared: dict[str, Any] | None = None,
) -> tuple[
    Annotated[Embedder, ArtifactConfig(name="model", artifact_type=ArtifactType.MODEL)],
    Annotated[dict[str, float], "metrics"],
    Annotated[HTMLString, "report"],
    Annotated[CSVString, "ledger"],
]:
    """Train a sentence-transformers model from one request.

    Where ZenML's MLflow tracker has opened a run for the step, the training is recorded in that.

    It runs each time unless its cache is turned on, for ZenML sees no rows and no weights behind a path; turn it on
    where `train_data` and `prepared` are given.

    Args:
        request: the request, as YAML or JSON.
        train_data: rows to train on, over the paths of data.train.
        eval_data: rows to evaluate with, over the paths of data.eval.
        base_model: model to start from, over model.
        as_of: up to when the data counts, over data.as_of.
        arguments: training arguments over those of the request.
        prepared: what `prepare_data` has found; where that is another, a cached training is none of these rows.

    Raises:
        EmbedstepError: with every problem that was found, or the first cause of a training that has failed; its
            `exit_code` is that of the outcome contract.
    """
    kept = TemporaryDirectory(prefix="embedstep-")
    folder = Path(kept.name)
    given: dict[str, Any] = {} if arguments is None else arguments.model_dump(mode="json")
    inputs = {"train_data": _path(train_data), "eval_data": _path(eval_data)}
    inputs["base_model"] = None if base_model is None else base_model.model
    task = task_of(TRAIN, folder, {"request": request, "as_of": as_of, **given}, inputs)
    with recorded_with_the_step():
        result = verbs.train(task)
        if result.exit_code != OK:
            assert result.failure is not None
            raise RunFailedError(result.failure)
    if result.metrics and get_step_context().model_version is not None:
        # The pipeline has declared a model, whose version this is.
        log_metadata(metadata=dict(result.metrics), infer_model=True)
    model = folder / "embedder"
    model.mkdir()
    for name, place in (("model", "model"), ("result", "result.json")):
        if (folder / name).exists():
            (folder / name).rename(model / place)
    report = folder / "report"
    shown = (
        report.read_text(encoding="utf-8") if report.exists() else f"<p>{result.stop_reason or result.skip_reason}</p>"
    )
    return (
        Embedder(path=model, kept=kept),
        dict(result.metrics),
        HTMLString(shown),
        CSVString(_table(result.ledger)),
    )


def _table(ledger: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerows([ledger[0].keys(), *([str(value) for value in item.values()] for item in ledger)] if ledger else [])
    return text.getvalue()


@step(enable_cache=False)
def evaluate_embedder(
    request: str,
    model: Embedder,
    eval_data: Rows | None = None,
    baseline: Embedder | None = None,
    as_of: str | None = None,
) -> Annotated[dict[str, Any], "scores"]:
    """Score a model with the evaluators of a request, beside another if that is given.

    It runs each time unless its cache is turned on: do so where `eval_data` is given.

    Args:
        request: the request, as YAML or JSON.
        model: the model; one that was not trained is not scored.
        eval_data: rows to evaluate with, over the paths of data.eval.
        baseline: a model to compare it with.
        as_of: up to when the data counts, over data.as_of.

    Raises:
        EmbedstepError: with every problem that was found, or a model could not be scored.
    """
    if model.status != "trained":
        return {}
    inputs = {"model": model.model, "eval_data": _path(eval_data)}
    inputs["baseline"] = None if baseline is None else baseline.model
    with TemporaryDirectory(prefix="embedstep-") as name:
        task = task_of(EVALUATE, Path(name), {"request": request, "as_of": as_of}, inputs)
        return verbs.evaluate(task).to_json()


@step(enable_cache=False)
def promote_embedder(
    request: str, model: Embedder, eval_data: Rows | None = None, as_of: str | None = None
) -> Annotated[dict[str, Any], "decision"]:
    """Decide whether a model may serve, and make it the registry's champion if it may.

    It runs each time: what serves may be another model by now.

    Args:
        request: the request, as YAML or JSON.
        model: the model.
        eval_data: rows to evaluate with, over the paths of data.eval.
        as_of: up to when the data counts, over data.as_of.

    Raises:
        EmbedstepError: with every problem that was found, or the gate cannot decide.
    """
    inputs = {"model": model.model, "result": model.path / "result.json", "eval_data": _path(eval_data)}
    with TemporaryDirectory(prefix="embedstep-") as name, recorded_like(model):
        task = task_of(PROMOTE, Path(name), {"request": request, "as_of": as_of}, inputs)
        return verbs.promote(task).to_json()
