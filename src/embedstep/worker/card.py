"""The model card: what the model is, how to use it, how good it is, and what it was trained from.

The card of sentence-transformers shows training rows and the time that the training took; this one shows rows only
where the request says so, and is the same for the same training.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import yaml
from huggingface_hub import ModelCardData, metadata_load
from jinja2 import Environment, PackageLoader, StrictUndefined
from sentence_transformers import SentenceTransformer

from embedstep.data.hub import is_hub_id, local_sources
from embedstep.output.provenance import without_local_paths
from embedstep.output.result import Change, is_score
from embedstep.planning.plan import Plan, PlannedDataset
from embedstep.request.datasets import Dataset
from embedstep.request.schema import TrainRequest
from embedstep.runtime.text import shorten

FILE = "README.md"
_HUB = "https://huggingface.co"
_CELL = 200
"""Characters of an example's text."""


def write_card(
    folder: Path,
    request: TrainRequest,
    plan: Plan,
    model: SentenceTransformer,
    metrics: Mapping[str, float] | None = None,
    changes: Mapping[str, Change] | None = None,
) -> None:
    """Write the card into the folder of a model.

    Args:
        folder: the folder.
        request: the request.
        plan: its plan.
        model: the model.
        metrics: metrics by their names in a log, of which those of evaluators are shown.
        changes: the same before and after the training, which are shown in their place.
    """
    environment = Environment(
        loader=PackageLoader("embedstep.worker", "."),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    base = _base(request)
    train = [item for item in plan.datasets if item.split == "train"]
    content = {
        "metadata": _metadata(request, plan, base),
        "title": request.tracking.register_as or f"{base['name']}-{'-'.join(request.data.train)}".strip("-"),
        "dimension": model.get_embedding_dimension(),
        "base": base,
        "rows": f"{sum(item.rows for item in train):,}",
        "facts": list(_facts(request, model)),
        "changes": [(name.removeprefix("eval_"), change) for name, change in (changes or {}).items()],
        "metrics": [(name.removeprefix("eval_"), value) for name, value in (metrics or {}).items() if is_score(name)],
        "datasets": [_dataset(request, item) for item in plan.datasets],
        "steps": f"{plan.train_steps:,} train steps of {plan.global_batch_size:,} rows, with:",
        "arguments": [
            (entry.name, without_local_paths(entry.value)) for entry in plan.ledger if entry.source == "request"
        ],
        "examples": [_examples(item, request.card.example_rows) for item in train if request.card.example_rows],
    }
    text = environment.get_template("card.md").render(**content)
    (folder / FILE).write_text(text, encoding="utf-8")


def base_card(request: TrainRequest, plan: Plan) -> dict[str, Any]:
    """Return the metadata in the card of the base model; empty where it has none."""
    for source in local_sources(request.model, plan.fetched_model):
        if (source / FILE).is_file():
            try:
                return metadata_load(source / FILE) or {}
            except (ValueError, OSError, yaml.YAMLError):  # a card that is damaged says nothing
                return {}
    return {}


def _base(request: TrainRequest) -> dict[str, str]:
    source = str(request.model.path or request.model.static or "")
    on_hub = is_hub_id(source)
    return {"name": source if on_hub else Path(source).name, "link": f"{_HUB}/{source}" if on_hub else ""}


def _metadata(request: TrainRequest, plan: Plan, base: Mapping[str, str]) -> str:
    """Return the card's metadata in YAML, with what the base's card says where the request says nothing."""
    inherited = base_card(request, plan)
    on_hub = [dataset.hub for dataset in request.data.train.values() if dataset.hub]
    data = ModelCardData(
        license=request.card.license or inherited.get("license"),
        license_name=None if request.card.license else inherited.get("license_name"),
        license_link=None if request.card.license else inherited.get("license_link"),
        language=request.card.language or inherited.get("language"),
        base_model=base["name"] if base["link"] else inherited.get("base_model"),
        datasets=list(dict.fromkeys(on_hub)) or None,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "embedstep"],
    )
    return str(data)


def _facts(request: TrainRequest, model: SentenceTransformer) -> Iterator[tuple[str, str]]:
    length = model.max_seq_length
    if length is not None and math.isfinite(length):
        yield "longest text", f"{length:,} tokens"
    yield "similarity", str(model.similarity_fn_name)
    for name, prompt in model.prompts.items():
        if prompt:
            yield f"prompt `{name}`", f"`{_escape(prompt)}`"
    if request.model.truncate_dim:
        yield "truncated to", f"{request.model.truncate_dim:,} dimensions"


def _dataset(request: TrainRequest, item: PlannedDataset) -> dict[str, str]:
    given: Dataset | None = getattr(request.data, item.split).get(item.name)
    return {
        "name": f"{item.split}.{item.name}",
        "source": "held out of the training rows" if given is None else _source(given),
        "link": f"{_HUB}/datasets/{given.hub}" if given is not None and given.hub else "",
        "rows": f"{item.rows:,}",
        "loss": item.loss or "",
    }


def _source(dataset: Dataset) -> str:
    """Say where the rows of a dataset come from, without folders of this machine."""
    if dataset.path:
        return ", ".join(without_local_paths(list(dataset.path)))
    kinds = {"a query": dataset.sql, "a BEIR folder": dataset.beir, "a function": dataset.rows}
    return dataset.hub or next((kind for kind, given in kinds.items() if given), "")


def _examples(item: PlannedDataset, count: int) -> dict[str, Any]:
    rows = datasets.Dataset.from_file(str(item.path)).select(range(min(count, item.rows)))
    cells = [[_cell(row[name]) for name in item.columns] for row in rows]
    return {"name": item.name, "columns": item.columns, "rows": cells}


def _cell(value: Any) -> str:
    return _escape(shorten(str(value), _CELL))


def _escape(text: str) -> str:
    """Return a text that stays in its cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
