"""Fetch models and datasets from the hub before any rank starts: `python -m embedstep.worker.jobs.fetch FOLDER`.

Ranks that download by themselves race for one cache and time out waiting for each other; here one process does it, and
the ranks read plain folders.
"""

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from embedstep.data.facts import SPLITS, Split
from embedstep.data.hub import hub_base, hub_benchmarks, hub_datasets, hub_guides, is_on_hub, suggest_folder
from embedstep.errors import CannotStartError, InvalidRequestError, Problem
from embedstep.output.job import serve_job
from embedstep.request.datasets import Dataset
from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest
from embedstep.runtime.text import redacted_first_line


def fetch(request: TrainRequest, folder: Path, with_model: bool, splits: Collection[Split] = SPLITS) -> dict[str, str]:
    """Fetch datasets and, `with_model`, the model; return the folder of each by `model` or `<split>.<name>`.

    Raises:
        CannotStartError: the hub did not answer.
        InvalidRequestError: the hub has no such model or dataset.
    """
    found = {}
    if with_model and is_on_hub(request.model):
        # Other nodes share this folder, but not this node's cache of the hub.
        shared = folder / "model" if request.launch.nodes > 1 else None
        found["model"] = fetch_model(request.model, shared)
    adapter = hub_base(request.model, found.get("model")) if with_model else None
    if adapter is not None:
        fetch_model(Model(path=adapter.base, revision=adapter.revision), None)  # ranks find it in the cache
    for place, guide in hub_guides(request) if with_model else ():
        fetch_model(Model(path=guide), None, place)  # ranks find it in the cache
    for place, options in hub_benchmarks(request) if with_model else ():
        fetch_benchmark(options, place)
    for split, name, dataset in hub_datasets(request, splits):
        target = folder / f"{split}-{name}"
        fetch_dataset(dataset, target, f"data.{split}.{name}.hub")
        found[f"{split}.{name}"] = str(target)
    return found


def fetch_dataset(dataset: Dataset, folder: Path, place: str) -> None:
    """Download one dataset of the hub and save its rows as Arrow files.

    Raises:
        CannotStartError: the hub did not answer.
        InvalidRequestError: the hub has no such dataset, subset, split or revision.
    """
    try:
        rows = datasets.load_dataset(dataset.hub, dataset.subset, split=dataset.split, revision=dataset.revision)
    except (ConnectionError, TimeoutError, HfHubHTTPError) as error:
        if missing := _missing(error, "dataset", dataset.revision):
            raise InvalidRequestError([Problem(place, f"{dataset.hub} cannot be loaded: {missing}")]) from error
        raise CannotStartError(f"{place}: {dataset.hub} could not be fetched: {redacted_first_line(error)}") from error
    except (ValueError, OSError) as error:
        raise InvalidRequestError(
            [Problem(place, f"{dataset.hub} cannot be loaded: {redacted_first_line(error)}")]
        ) from error
    rows.save_to_disk(str(folder))


def fetch_benchmark(options: Mapping[str, Any], place: str) -> None:
    """Download the data of NanoBEIR to the cache, where ranks find it.

    Args:
        options: options of the evaluator.
        place: path of the evaluator in the request.

    Raises:
        CannotStartError: the hub did not answer, or has no such data.
    """
    # torch takes seconds to import, and most requests fetch no such data.
    from sentence_transformers.sentence_transformer.evaluation import NanoBEIREvaluator

    try:
        NanoBEIREvaluator(**{name: options[name] for name in ("dataset_names", "dataset_id") if options.get(name)})
    except ValueError as error:
        reason = redacted_first_line(error.__cause__ or error)
        raise CannotStartError(f"{place}: the data of NanoBEIR could not be fetched: {reason}") from error


def fetch_model(model: Model, folder: Path | None, place: str = "") -> str:
    """Download the model's files and return the folder that holds them.

    Args:
        model: section of the request.
        folder: where to save them; None for the hub's own cache.
        place: path of the model in the request; empty for the section `model`.

    Raises:
        CannotStartError: the hub did not answer.
        InvalidRequestError: the hub has no such model or revision, or does not show it without a token.
    """
    field = place or ("model.path" if model.path else "model.static")
    try:
        return str(snapshot_download(model.source, revision=model.revision, local_dir=folder))
    except (OSError, ValueError) as error:
        if missing := _missing(error, "model", model.revision):
            raise InvalidRequestError(
                [Problem(field, f"{model.source} is not a local folder, and {missing}{suggest_folder(model.source)}")]
            ) from error
        near = suggest_folder(model.source)
        raise CannotStartError(
            f"{field}: {model.source} is not a local folder and could not be fetched; is there a network? "
            f"({redacted_first_line(error)}){near}"
        ) from error


def _missing(error: BaseException, kind: str, revision: str | None) -> str:
    """Say what the hub answers that it does not have; empty if it gave no such answer."""
    if isinstance(error, RevisionNotFoundError):
        return f"the hub has no revision {revision!r} of it"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no such {kind}, or shows it only with an HF_TOKEN that has access"
    return str(error) if isinstance(error, HFValidationError) else ""


if __name__ == "__main__":
    datasets.utils.logging.disable_progress_bar()
    sys.exit(
        serve_job(
            lambda job, folder: fetch(TrainRequest.model_validate(job["request"]), folder, job["model"], job["splits"]),
            Path(sys.argv[1]),
        )
    )
