"""The embedding space of a saved model: what makes its vectors comparable with those that an index holds already."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedstep.output.result import read_json

_NORMALIZE = "Normalize"
_OLD_MODE = "pooling_mode_"
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
"""Today's names of the ways of pooling by their older flags; the others are the flag's own end."""
_WEIGHTS = (".safetensors", ".bin", ".pt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """What the vectors of a model depend on.

    Attributes:
        weights: SHA-256 of the files with weights, in the order of their names.
        dimension: numbers of an embedding.
        modules: kind and settings of each module behind the first, such as the pooling.
        is_normalized: every vector has the length 1.
        prompts: texts that are put before inputs, by name, and the name of the one that always is.
    """

    weights: str
    dimension: int
    modules: tuple[tuple[str, Mapping[str, Any]], ...]
    is_normalized: bool
    prompts: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it: vectors of models with the same one can stand in one index."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def space_of(model: Path, dimension: int) -> Space:
    """Read the space of a saved sentence-transformers model from its files, without loading it.

    Args:
        model: its folder.
        dimension: numbers of an embedding.
    """
    listed = read_json(model / "modules.json") if (model / "modules.json").exists() else []
    modules = tuple(_module(model, module) for module in listed[1:])
    config = model / "config_sentence_transformers.json"
    settings = read_json(config) if config.exists() else {}
    return Space(
        weights=weights_digest(model),
        dimension=dimension,
        modules=modules,
        is_normalized=any(kind == _NORMALIZE for kind, _ in modules),
        prompts=_prompts(settings),
    )


def weights_digest(model: Path) -> str:
    """Return the SHA-256 of the files with weights of a saved model: equal where all weights are equal to the bit."""
    return _digest(model, [file for file in sorted(model.rglob("*")) if file.suffix in _WEIGHTS])


def base_digest(model: Path) -> str:
    """Return the SHA-256 of what a training starts from: weights and tokenizer of a folder, or a tokenizer's file."""
    if model.is_file():
        return _digest(model.parent, [model])
    files = [file for file in sorted(model.rglob("*")) if file.suffix in _WEIGHTS or file.name == "tokenizer.json"]
    return _digest(model, files)


def _digest(folder: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _module(model: Path, module: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the name of a module's class, whose place in the library has changed between releases, and its settings.

    How a normalising module names its input and output, releases write down differently or not at all.
    """
    kind = str(module["type"]).rpartition(".")[2]
    return kind, {} if kind == _NORMALIZE else _settings(model / module["path"])


def _settings(folder: Path) -> Mapping[str, Any]:
    """Return a module's settings as today's library writes them: a model that was saved anew has the same space."""
    found: dict[str, Any] = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    if flags := [name for name in found if name.startswith(_OLD_MODE)]:
        modes = [_MODES.get(name, name.removeprefix(_OLD_MODE)) for name in flags if found[name]]
        found = {name: value for name, value in found.items() if name not in flags}
        found["pooling_mode"] = modes[0] if len(modes) == 1 else modes
    if "word_embedding_dimension" in found:
        found["embedding_dimension"] = found.pop("word_embedding_dimension")
    if "pooling_mode" in found:
        found.setdefault("include_prompt", True)
    return found


def _prompts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is put before texts; a prompt without a text is none."""
    prompts = {name: text for name, text in (settings.get("prompts") or {}).items() if text}
    return {"prompts": prompts, "default": settings.get("default_prompt_name")}
