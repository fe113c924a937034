"""The steps. Each runs the command of a component; training happens in processes of its own."""

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
from embedstep.data.frames import rows_path
from embedstep.data.hub import local_sources
from embedstep.errors import OK
from embedstep.launch.failures import RunFailedError
from embedstep.orchestration import commands
from embedstep.orchestration.components import EVALUATE, PREPARE, PROMOTE, TRAIN
from embedstep.orchestration.task import make_task, resolve_request
from embedstep.orchestration.zenml.artifacts import Embedder, EmbedderMaterializer, Rows, RowsMaterializer
from embedstep.orchestration.zenml.parameters import TrainingArguments
from embedstep.orchestration.zenml.tracker import track_in_step_run, track_like_training
from embedstep.output.weights import base_digest
from embedstep.request.model import Model


def _path(rows: Any, name: str, folder: Path) -> Path | None:
    """Return the folder or file of rows that another step has returned; those in memory are written to `folder`."""
    return None if rows is None else rows.path if isinstance(rows, Rows) else rows_path(rows, folder / name, name)


@step(enable_cache=False, output_materializers={"train_rows": RowsMaterializer, "eval_rows": RowsMaterializer})
def prepare_data(
    request: str, as_of: str | None = None, eval_share: float = 0.0, seed: int = 42
) -> tuple[Annotated[Rows, "train_rows"], Annotated[Rows, "eval_rows"], Annotated[dict[str, Any], "prepared"]]:
    """Read the rows of a request, drop duplicates, and split off evaluation rows.

    This step is never cached, because the rows at an address may change. A training that is given the rows and
    `prepared`, which includes the digest of the base model and the version of embedstep, can be cached.

    Args:
        request: the request as YAML or JSON.
        as_of: use data up to this time; overrides data.as_of.
        eval_share: share of the anchors to split off a dataset that data.eval does not name.
        seed: seed of that split.

    Raises:
        EmbedstepError: with every problem of the request and its data.
    """
    kept = TemporaryDirectory(prefix="embedstep-")
    folder = Path(kept.name)
    parameters = {"request": request, "as_of": as_of, "eval_share": eval_share, "seed": seed}
    task = make_task(PREPARE, folder, parameters, {})
    prepared = commands.prepare(task)
    train = Rows(path=folder / "train_rows", fingerprint=prepared.fingerprint_of("train"), kept=kept)
    held_out = Rows(path=folder / "eval_rows", fingerprint=prepared.fingerprint_of("eval"), kept=kept)
    return train, held_out, {**prepared.to_json(), **_training_inputs(resolve_request(task, PREPARE).model)}


def _training_inputs(model: Model) -> dict[str, Any]:
    """Return what a training depends on besides request and rows. A model on the hub is identified by its revision."""
    sources = local_sources(model, None)
    return {"base": base_digest(*sources) if sources else None, "version": __version__}


@step(enable_cache=False, output_materializers={"model": EmbedderMaterializer})
def train_embedder(
    request: str,
    train_data: Any = None,
    eval_data: Any = None,
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

    If ZenML's MLflow tracker has opened a run for the step, the training is recorded in it.

    Caching is off by default, because ZenML cannot see whether the rows or weights behind a path have changed. Turn it
    on if `train_data` and `prepared` are given.

    Args:
        request: the request as YAML or JSON.
        train_data: training rows, in place of the paths in data.train: what `prepare_data` returned, a DataFrame, a
            `datasets.Dataset`, an Arrow table, a path, or a mapping of those in memory by dataset.
        eval_data: evaluation rows, in place of the paths in data.eval, in the same forms.
        base_model: base model, in place of the one in the request.
        as_of: use data up to this time; overrides data.as_of.
        arguments: training arguments that override those in the request.
        prepared: what `prepare_data` returned, so that the cache notices a change.

    Raises:
        EmbedstepError: with every problem of the request, or the first cause of a failed training; its `exit_code` is
            that of the outcome contract.
    """
    kept = TemporaryDirectory(prefix="embedstep-")
    folder = Path(kept.name)
    given: dict[str, Any] = {} if arguments is None else arguments.model_dump(mode="json")
    given_rows = {"train_data": train_data, "eval_data": eval_data}
    inputs = {name: _path(rows, name, folder) for name, rows in given_rows.items()}
    inputs["base_model"] = None if base_model is None else base_model.model
    task = make_task(TRAIN, folder, {"request": request, "as_of": as_of, **given}, inputs)
    with track_in_step_run():
        result = commands.train(task)
        if result.exit_code != OK:
            assert result.failure is not None
            raise RunFailedError(result.failure)
    if result.metrics and get_step_context().model_version is not None:
        # The pipeline declares a model, and this is a version of it.
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
    eval_data: Any = None,
    baseline: Embedder | None = None,
    as_of: str | None = None,
) -> Annotated[dict[str, Any], "scores"]:
    """Score a model with the evaluators of a request, and compare it with a baseline if there is one.

    Caching is off by default. Turn it on if `eval_data` is given.

    Args:
        request: the request as YAML or JSON.
        model: the model; nothing is scored if it was not trained.
        eval_data: evaluation rows, in place of the paths in data.eval.
        baseline: model to compare it with.
        as_of: use data up to this time; overrides data.as_of.

    Raises:
        EmbedstepError: with every problem of the request, or a model could not be scored.
    """
    if model.status != "trained":
        return {}
    with TemporaryDirectory(prefix="embedstep-") as name:
        inputs = {"model": model.model, "eval_data": _path(eval_data, "eval_data", Path(name))}
        inputs["baseline"] = None if baseline is None else baseline.model
        task = make_task(EVALUATE, Path(name), {"request": request, "as_of": as_of}, inputs)
        return commands.evaluate(task).to_json()


@step(enable_cache=False)
def promote_embedder(
    request: str, model: Embedder, eval_data: Any = None, as_of: str | None = None
) -> Annotated[dict[str, Any], "decision"]:
    """Compare a model with the champion, and promote it in the registry if it is better.

    This step is never cached, because the champion may change.

    Args:
        request: the request as YAML or JSON.
        model: the model.
        eval_data: evaluation rows, in place of the paths in data.eval.
        as_of: use data up to this time; overrides data.as_of.

    Raises:
        EmbedstepError: with every problem of the request, or the gate cannot decide.
    """
    with TemporaryDirectory(prefix="embedstep-") as name, track_like_training(model):
        rows = _path(eval_data, "eval_data", Path(name))
        inputs = {"model": model.model, "result": model.path / "result.json", "eval_data": rows}
        task = make_task(PROMOTE, Path(name), {"request": request, "as_of": as_of}, inputs)
        return commands.promote(task).to_json()
