"""The embedding space of a saved model: what makes its vectors comparable with those that an index holds already."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedstep.result import read_json

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
    modules = tuple((_kind(module), _settings(model / module["path"])) for module in listed[1:])
    config = model / "config_sentence_transformers.json"
    settings = read_json(config) if config.exists() else {}
    return Space(
        weights=weights_digest(model),
        dimension=dimension,
        modules=modules,
        is_normalized=any(kind == "Normalize" for kind, _ in modules),
        prompts={"prompts": settings.get("prompts") or {}, "default": settings.get("default_prompt_name")},
    )


def weights_digest(model: Path) -> str:
    """Return the SHA-256 of the files with weights of a saved model: equal where all weights are equal to the bit."""
    digest = hashlib.sha256()
    for file in sorted(model.rglob("*")):
        if file.suffix in _WEIGHTS:
            digest.update(file.relative_to(model).as_posix().encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _kind(module: Mapping[str, Any]) -> str:
    """Return the name of a module's class; where it lies in the library has changed between releases."""
    return str(module["type"]).rpartition(".")[2]


def _settings(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    return found
