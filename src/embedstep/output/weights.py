"""The embedding space of a saved model: models with equal spaces can share one index."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedstep.output.result import read_json, read_json_or_empty
from embedstep.runtime.digests import sha256_files, sha256_json, sha256_text

_NORMALIZE = "Normalize"
_OLD_MODE = "pooling_mode_"
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""Current names of the older pooling settings whose names do not simply drop the prefix."""
_WEIGHTS = (".safetensors", ".bin", ".pt")
BASE_DIGEST = "adapter_base.json"
"""File with the digest of the model that an adapter was trained on, next to the adapter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Everything that the embeddings of a model depend on.

    Attributes:
        weights: SHA-256 of the files with weights, in the order of their names.
        dimension: dimension of an embedding.
        modules: class and settings of each module after the first, such as the pooling.
        is_normalized: whether embeddings have length 1.
        prompts: prompts by name, and the name of the default prompt.
    """

    weights: str
    dimension: int
    modules: tuple[tuple[str, Mapping[str, Any]], ...]
    is_normalized: bool
    prompts: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the whole space."""
        return sha256_text(json.dumps(asdict(self), sort_keys=True))


def read_space(model: Path, dimension: int) -> Space:
    """Read the space of a saved sentence-transformers model from its files, without loading it.

    Args:
        model: its folder.
        dimension: dimension of an embedding.
    """
    modules = tuple(_module(model, module) for module in listed_modules(model)[1:])
    return Space(
        weights=weights_digest(model),
        dimension=dimension,
        modules=modules,
        is_normalized=any(kind == _NORMALIZE for kind, _ in modules),
        prompts=_prompts(read_json_or_empty(model / "config_sentence_transformers.json")),
    )


def listed_modules(model: Path) -> list[Mapping[str, Any]]:
    """Return name, class and folder of each module of a saved model; empty for one that transformers has saved."""
    file = model / "modules.json"
    return read_json(file) if file.is_file() else []


def weights_digest(model: Path) -> str:
    """Return the SHA-256 of a saved model's files with weights; equal for bit-identical weights.

    Of an adapter's base it has the digest that was recorded with the adapter.
    """
    files = [file for file in sorted(model.rglob("*")) if file.suffix in _WEIGHTS or file.name == BASE_DIGEST]
    return sha256_files(model, files)


def base_digest(*sources: Path) -> str:
    """Return the SHA-256 of the initial model: weights and tokenizer of each folder, and each file."""
    digests = [_source_digest(source) for source in sources]
    return digests[0] if len(digests) == 1 else sha256_json(digests)


def _source_digest(model: Path) -> str:
    if model.is_file():
        return sha256_files(model.parent, [model])
    files = [file for file in sorted(model.rglob("*")) if file.suffix in _WEIGHTS or file.name == "tokenizer.json"]
    return sha256_files(model, files)


def _module(model: Path, module: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the class name and the settings of a module.

    The class's package differs between releases, and so do the settings of `Normalize`, so both are left out.
    """
    kind = str(module["type"]).rpartition(".")[2]
    return kind, {} if kind == _NORMALIZE else module_settings(model / module["path"])


def module_settings(folder: Path) -> Mapping[str, Any]:
    """Return a module's settings in the form of the current library, so that saving a model again keeps its space."""
    found: dict[str, Any] = read_json_or_empty(folder / "config.json")
    if former := [name for name in found if name.startswith(_OLD_MODE)]:
        modes = [_MODES.get(name, name.removeprefix(_OLD_MODE)) for name in former if found[name]]
        found = {name: value for name, value in found.items() if name not in former}
        found["pooling_mode"] = modes[0] if len(modes) == 1 else modes
    if "word_embedding_dimension" in found:
        found["embedding_dimension"] = found.pop("word_embedding_dimension")
    if "pooling_mode" in found:
        found.setdefault("include_prompt", True)
    return found


def _prompts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prompts that are not empty, and the name of the default prompt."""
    prompts = {name: text for name, text in (settings.get("prompts") or {}).items() if text}
    return {"prompts": prompts, "default": settings.get("default_prompt_name")}
