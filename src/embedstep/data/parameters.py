"""The parameters of a saved model by the names that they have in training, from the headers of its files alone."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from embedstep.data.model_facts import class_name, floating_tensors
from embedstep.output.adapters import weights_folder
from embedstep.output.result import read_json_or_empty
from embedstep.output.weights import listed_modules

Parameters = Mapping[str, int]
"""Number of values by name, such as `0.model.encoder.layer.0.output.dense.weight`."""
Shapes = Mapping[str, tuple[int, ...]]
"""Shape by name."""
_WITH_POOLER = {"bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "data2vec-text", "ernie"}
_ENCODER_OF = {"t5", "mt5", "umt5"}
"""Model types of which only the encoder is loaded."""
_Value = TypeVar("_Value")
_LAYER = re.compile(r"(?<=\.)(layers?|h|blocks?)\.(\d+)(?=\.)")


def saved_parameters(folder: Path) -> Parameters:
    """Return the parameters of a saved model; empty where its weights are not in safetensors files.

    Args:
        folder: a folder that sentence-transformers or transformers has saved.

    Raises:
        ValueError: a file is not what its name says, such as JSON that is cut off.
    """
    listed = listed_modules(folder)
    if not listed:
        return with_prefix("0.", transformer_parameters(folder))
    found: dict[str, int] = {}
    for module in listed:
        found |= with_prefix(f"{module['name']}.", _module_parameters(str(module["type"]), folder / module["path"]))
    return found


def with_prefix(prefix: str, parameters: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return the parameters of a part by their names in the whole."""
    return {f"{prefix}{name}": value for name, value in parameters.items()}


def transformer_parameters(folder: Path) -> dict[str, int]:
    """Return the parameters of a transformer by their names in its module.

    Args:
        folder: folder with its `config.json`.
    """
    return {f"model.{name}": prod(shape) for name, shape in transformer_shapes(folder).items()}


def transformer_shapes(folder: Path) -> Shapes:
    """Return the shapes of a transformer: without the head that it was pretrained with, which is not loaded.

    Args:
        folder: folder with its `config.json`.
    """
    folder = weights_folder(folder)
    config = read_json_or_empty(folder / "config.json")
    found = _tensors(folder)
    architecture = next(iter(config.get("architectures") or ()), "")
    if found and (not architecture.endswith("Model") or architecture.endswith("LMHeadModel")):
        found = _without_head(found, config)
    # Names of TensorFlow's first BERT, which transformers reads under their later ones.
    names = {name: name.replace("LayerNorm.gamma", "LayerNorm.weight") for name in found}
    names = {name: renamed.replace("LayerNorm.beta", "LayerNorm.bias") for name, renamed in names.items()}
    return {names[name]: shape for name, shape in found.items()}


def _without_head(tensors: Shapes, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the parameters of the transformer inside a model with a head."""
    kind = config.get("model_type")
    if kind in _ENCODER_OF:
        return {name: shape for name, shape in tensors.items() if name.startswith(("encoder.", "shared."))}
    # They share a prefix, such as `bert.`.
    first = Counter(name.partition(".")[0] for name in tensors)
    prefix = f"{max(first, key=first.__getitem__)}."
    found = {name.removeprefix(prefix): shape for name, shape in tensors.items() if name.startswith(prefix)}
    width = config.get("hidden_size")
    if kind in _WITH_POOLER and width and "pooler.dense.weight" not in found:
        # Loaded without the head, such a model gets a new pooler, which its files do not have.
        found |= {"pooler.dense.weight": (width, width), "pooler.dense.bias": (width,)}
    return found


def keep_layers(parameters: Mapping[str, _Value], keep: list[int]) -> dict[str, _Value]:
    """Return the parameters of a model that keeps some of its layers; the names have the new numbers of these."""
    places = {layer: place for place, layer in enumerate(keep)}
    found = {}
    for name, value in parameters.items():
        match = _LAYER.search(name)
        if match is None:
            found[name] = value
        elif int(match[2]) in places:
            found[f"{name[: match.start(2)]}{places[int(match[2])]}{name[match.end(2) :]}"] = value
    return found


def layer_names(parameters: Mapping[str, object]) -> dict[int, frozenset[str]]:
    """Return the names of parameters inside each layer of a transformer, by the layer's place."""
    found: dict[int, set[str]] = {}
    for name in parameters:
        if (match := _LAYER.search(name)) is not None:
            found.setdefault(int(match[2]), set()).add(name[match.end(2) :])
    return {layer: frozenset(names) for layer, names in found.items()}


def _module_parameters(kind: str, folder: Path) -> Parameters:
    kind = class_name(kind)
    if kind == "Router":
        return dict(_routed(folder))
    if kind in ("Transformer", "CLIPModel"):
        return transformer_parameters(folder)
    return {name: prod(shape) for name, shape in _tensors(folder).items()}


def _routed(folder: Path) -> Iterator[tuple[str, int]]:
    file = folder / "router_config.json"
    saved: Mapping[str, Any] = read_json_or_empty(file if file.is_file() else folder / "config.json")
    for route, names in saved.get("structure", {}).items():
        for place, name in enumerate(names):
            inside = _module_parameters(str(saved["types"][name]), folder / name)
            yield from with_prefix(f"sub_modules.{route}.{place}.", inside).items()


def _tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, _, shape in floating_tensors(folder.glob("*.safetensors"))}
