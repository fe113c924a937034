"""What a request names on the Hugging Face hub: datasets, models, benchmarks; and where its datasets are."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from embedstep.data.facts import SPLITS, Split
from embedstep.errors import suggest
from embedstep.output.adapters import SavedAdapter, saved_adapter
from embedstep.request.datasets import Dataset
from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest

_HUB_ID = re.compile(r"(?!.*\.(json|safetensors|bin)$)(\w[\w.-]*/)?\w[\w.-]*")
"""A name, or an organisation and a name. With more parts, or with the extension of a file, it is a path."""


_FILES_OF_A_MODEL = ("modules.json", "config.json", "tokenizer.json")
MODEL_OPTIONS = ("guide", "decoder_name_or_path")
"""Options of losses that name a further model."""


def named_datasets(request: TrainRequest) -> Iterator[tuple[Split, str, Dataset]]:
    """Yield split, name and section of each dataset of the request."""
    for split in SPLITS:
        for name, dataset in getattr(request.data, split).items():
            yield split, name, dataset


def fetched_datasets(request: TrainRequest, splits: Collection[Split] = SPLITS) -> Iterator[tuple[Split, str, Dataset]]:
    """Yield split, name and section of each dataset that is no files; what is held out of one is fetched with it."""
    fetched_with = request.data.held_out if "train" in splits else ()
    for split, name, dataset in named_datasets(request):
        if dataset.is_fetched and split in splits and not (split == "eval" and name in fetched_with):
            yield split, name, dataset


def hub_datasets(request: TrainRequest, splits: Collection[Split] = SPLITS) -> Iterator[tuple[Split, str, Dataset]]:
    """Yield split, name and section of each dataset of the hub; what is held out of one is fetched with it."""
    return (found for found in fetched_datasets(request, splits) if found[2].hub)


def is_on_hub(model: Model) -> bool:
    """Whether a model is named by a hub id, and not by a path on this machine."""
    return is_hub_id(model.path or model.static or "")


def is_hub_id(source: str) -> bool:
    """Whether a text is a hub id, and not a path on this machine."""
    # os.path.exists returns False for an invalid file name, where Path.exists raises.
    return _HUB_ID.fullmatch(source) is not None and not os.path.exists(source)  # noqa: PTH110


def is_cached(source: str, environ: Mapping[str, str]) -> bool:
    """Whether files of a hub id are on this machine already, where the hub's library keeps what it has fetched."""
    home = Path(environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    cache = Path(environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    return (cache / f"models--{source.replace('/', '--')}" / "snapshots").is_dir()


def suggest_folder(source: str) -> str:
    """Return `; did you mean X?` with the folder whose name is most similar to a model that is not here, or nothing."""
    parent = Path(source).expanduser().parent
    if not parent.is_dir():
        return ""
    folders = [str(place) for place in parent.iterdir() if any((place / name).is_file() for name in _FILES_OF_A_MODEL)]
    return suggest(source, folders)


def local_model(model: Model, fetched: str | None) -> Path | None:
    """Return the folder of the model that `path` names; None without a path, and where it is not on this machine.

    Args:
        model: section of the request.
        fetched: folder of the model, if it was fetched from the hub.
    """
    if model.path is None:
        return None
    folder = Path(fetched or model.path).expanduser()
    return folder if folder.is_dir() else None


def local_sources(model: Model, fetched: str | None) -> tuple[Path, ...]:
    """Return the folders and files that a model is built from, as far as they are on this machine.

    Args:
        model: section of the request.
        fetched: folder of the model, if it was fetched from the hub.
    """
    sources = [Path(source).expanduser() for source in model.sources]
    if fetched is not None:
        sources[0] = Path(fetched)
    return tuple(source for source in sources if source.exists())


def hub_guides(request: TrainRequest) -> Iterator[tuple[str, str]]:
    """Yield the path in the request and the hub id of each further model that a loss reads, such as a guide."""
    for path, loss in request.losses():
        for option in MODEL_OPTIONS:
            source = loss.options.get(option)
            if isinstance(source, str) and is_hub_id(source):
                yield f"{path}.options.{option}", source


def hub_base(model: Model, fetched: str | None) -> SavedAdapter | None:
    """Return the adapter that a model is, if it belongs to a model on the hub.

    Args:
        model: section of the request.
        fetched: folder of the model, if it was fetched from the hub.
    """
    folder = local_model(model, fetched)
    adapter = saved_adapter(folder) if folder is not None else None
    return adapter if adapter is not None and is_hub_id(adapter.base) else None


def hub_benchmarks(request: TrainRequest) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the path in the request and the options of each evaluator whose data is on the hub."""
    for index, evaluator in enumerate(request.evaluators):
        source = evaluator.options.get("dataset_id")
        if evaluator.dataset is None and (source is None or is_hub_id(str(source))):
            yield f"evaluators.{index}", evaluator.options


def with_datasets(request: TrainRequest, replacement: Callable[[Split, str, Dataset], Dataset | None]) -> TrainRequest:
    """Return the request with each dataset replaced, or removed where the replacement is None.

    The copy is not validated, so a split may become empty.
    """
    data: dict[str, dict[str, Dataset]] = {split: {} for split in SPLITS}
    for split, name, given in named_datasets(request):
        if (dataset := replacement(split, name, given)) is not None:
            data[split][name] = dataset
    return request.model_copy(update={"data": request.data.model_copy(update=data)})
