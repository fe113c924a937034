"""Fetch what comes from the hub, once per node before any rank starts: `python -m embedstep.worker.jobs.fetch FOLDER`.

Ranks that each look for a model or prepare a dataset race for the same cache and wait for each other in a
collective; here one process does it, and the ranks find plain folders.
"""

import os
import sys
from pathlib import Path

import datasets
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from embedstep.data.hub import hub_datasets, is_on_hub
from embedstep.errors import CannotStartError, InvalidRequestError, Problem, first_line
from embedstep.output.job import serve_job
from embedstep.request.datasets import Dataset
from embedstep.request.schema import Model, TrainRequest
from embedstep.runtime.secrets import redact


def fetch(request: TrainRequest, folder: Path, with_model: bool) -> dict[str, str]:
    """Fetch datasets, and the model if asked, and return the folder of each by `model` or `split.name`.

    Raises:
        CannotStartError: the hub did not answer.
        InvalidRequestError: the hub has no such thing.
    """
    found = {}
    if with_model and is_on_hub(request.model):
        # Other nodes of the training see this folder, and not the hub's cache of this one.
        shared = folder / "model" if request.launch.nodes > 1 else None
        found["model"] = fetch_model(request.model, shared)
    for split, name, dataset in hub_datasets(request):
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
        raise CannotStartError(f"{place}: the hub did not give {dataset.hub}: {_first_line(error)}") from error
    except (ValueError, OSError) as error:
        raise InvalidRequestError([Problem(place, f"{dataset.hub} cannot be loaded: {_first_line(error)}")]) from error
    rows.save_to_disk(str(folder))


def fetch_model(model: Model, folder: Path | None) -> str:
    """Download the model's files and return the folder that holds them.

    Args:
        model: section of the request.
        folder: where to put them; None for the hub's own cache.

    Raises:
        CannotStartError: the hub did not answer.
        InvalidRequestError: the hub has no such model or revision, or does not show it to us.
    """
    field = "model.path" if model.path else "model.static"
    try:
        return str(snapshot_download(model.source, revision=model.revision, local_dir=folder))
    except (OSError, ValueError) as error:
        if missing := _missing(error, "model", model.revision):
            raise InvalidRequestError([Problem(field, f"{model.source} is no folder here, and {missing}")]) from error
        raise CannotStartError(
            f"{field}: {model.source} is no folder here, and the hub did not give it: {_first_line(error)}"
        ) from error


def _missing(error: BaseException, kind: str, revision: str | None) -> str:
    """Say what the hub has answered that it does not have, or nothing when it has not answered that."""
    if isinstance(error, RevisionNotFoundError):
        return f"the hub has no revision {revision!r} of it"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no such {kind}, or shows it only to a HF_TOKEN that may see it"
    return str(error) if isinstance(error, HFValidationError) else ""


def _first_line(error: BaseException) -> str:
    return redact(first_line(error), os.environ)


if __name__ == "__main__":
    datasets.utils.logging.disable_progress_bar()
    sys.exit(
        serve_job(
            lambda job, folder: fetch(TrainRequest.model_validate(job["request"]), folder, job["model"]),
            Path(sys.argv[1]),
        )
    )
