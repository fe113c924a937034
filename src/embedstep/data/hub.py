"""Which parts of a request lie on the Hugging Face hub, and fetching them in a process of its own.

The fetching needs libraries that take seconds to import, so it happens only for requests that name the hub, once per
node, before any rank starts.
"""

import os
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from embedstep.data.facts import SPLITS, Split
from embedstep.errors import OK, CannotStartError, EmbedstepError, InvalidRequestError, StepInterruptedError
from embedstep.output.result import read_json, write_json
from embedstep.request.datasets import Dataset
from embedstep.request.schema import Model, TrainRequest
from embedstep.runtime.process import LaunchCommand, run_process

_HUB_ID = re.compile(r"(?!.*\.(json|safetensors|bin)$)(\w[\w.-]*/)?\w[\w.-]*")
"""A name, or an organisation and a name; anything with more parts, or with the ending of a file, is a path."""


def named_datasets(request: TrainRequest) -> Iterator[tuple[Split, str, Dataset]]:
    """Yield split, name and section of each dataset of the request."""
    for split in SPLITS:
        for name, dataset in getattr(request.data, split).items():
            yield split, name, dataset


def hub_datasets(request: TrainRequest) -> Iterator[tuple[Split, str, Dataset]]:
    """Yield split, name and section of each dataset that lies on the hub."""
    return ((split, name, dataset) for split, name, dataset in named_datasets(request) if dataset.hub)


def is_on_hub(model: Model) -> bool:
    """Whether a model is named by a hub id rather than by something on this machine."""
    # os.path answers False for a name that no file system takes, where Path raises.
    return _HUB_ID.fullmatch(model.source) is not None and not os.path.exists(model.source)  # noqa: PTH110


def with_local_data(request: TrainRequest, folder: Path, *, with_model: bool) -> tuple[TrainRequest, str | None]:
    """Fetch what lies on the hub, and return the request with local data, and the folder of a fetched model.

    Args:
        request: any request; one that names nothing on the hub comes back as it is, without a process.
        folder: where fetched rows are kept.
        with_model: fetch the model too, which a plan does not need.

    Raises:
        InvalidRequestError: the hub has no such thing.
        CannotStartError: the hub did not answer, or the `train` extra is not installed.
        StepInterruptedError: a signal ended the fetching.
    """
    wants_model = with_model and is_on_hub(request.model)
    if not wants_model and not any(hub_datasets(request)):
        return request, None
    if find_spec("datasets") is None:
        raise CannotStartError("datasets is not installed, which fetches from the hub; pip install 'embedstep[train]'")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "wanted.json", {"request": request.model_dump(mode="json"), "model": wants_model})
    argv = (sys.executable, "-m", "embedstep.worker.jobs.fetch", str(folder))
    end = run_process(LaunchCommand(argv=argv, env=dict(os.environ)))
    if end.signalled is not None:
        raise StepInterruptedError(end.signalled)
    if end.code != OK:
        raise _failure(folder, end.code)
    found = read_json(folder / "found.json")
    return _with_places(request, found), found.get("model")


def _failure(folder: Path, code: int) -> EmbedstepError:
    try:
        failure = read_json(folder / "failure.json")
    except OSError:
        return CannotStartError(f"fetching from the hub ended with code {code}; its own words are above")
    if failure["problems"]:
        return InvalidRequestError.from_lines(failure["problems"])
    return CannotStartError(failure["message"])


def _with_places(request: TrainRequest, found: dict[str, Any]) -> TrainRequest:
    """Return the request with each hub dataset replaced by the folder that it was saved to."""
    data: dict[str, Any] = {
        split: {
            name: dataset.at(found[f"{split}.{name}"]) if dataset.hub else dataset
            for name, dataset in getattr(request.data, split).items()
        }
        for split in SPLITS
    }
    return request.model_copy(update={"data": request.data.model_copy(update=data)})


def without_hub_data(request: TrainRequest) -> TrainRequest:
    """Return the request with only those datasets that lie on this machine."""
    data: dict[str, Any] = {
        split: {name: dataset for name, dataset in getattr(request.data, split).items() if not dataset.hub}
        for split in SPLITS
    }
    return request.model_copy(update={"data": request.data.model_copy(update=data)})
