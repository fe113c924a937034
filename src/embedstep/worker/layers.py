"""Takes layers out of a transformer, and keeps parameters from training."""

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from embedstep.errors import InvalidRequestError


def keep_layers(transformer: Any, keep: Sequence[int]) -> None:
    """Replace the model of a transformer module by one that has only some of its layers.

    The smaller model is made from the smaller configuration, as it is when the saved model is loaded again, so that all
    that depends on a layer's place is right: indexes, kinds of attention, parameters that only the first one has.

    Args:
        transformer: the module; its model is replaced.
        keep: layers to keep, counted from 0.

    Raises:
        InvalidRequestError: the layers cannot be found, or a smaller model is of another shape.
    """
    model = transformer.auto_model
    name, layers = _find_layers(model)
    if keep[-1] >= len(layers):
        raise _refused(f"has {keep[-1]}, and the model has the layers 0 to {len(layers) - 1}")
    smaller = _with_config(model, _smaller_config(model.config, len(layers), keep))
    weights = {}
    for key, value in model.state_dict().items():
        if not key.startswith(f"{name}."):
            weights[key] = value
            continue
        layer, _, rest = key.removeprefix(f"{name}.").partition(".")
        if int(layer) in keep:
            weights[f"{name}.{keep.index(int(layer))}.{rest}"] = value
    found = smaller.load_state_dict(weights, strict=False)
    if apart := [*found.missing_keys, *found.unexpected_keys]:
        kind = type(model).__name__
        raise _refused(f"is {list(keep)}, and a {kind} of these layers has other parameters: {', '.join(apart[:3])}")
    transformer.model = smaller.to(next(model.parameters()).device)


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError.at("model.layers.keep", message)


def _find_layers(model: torch.nn.Module) -> tuple[str, torch.nn.ModuleList]:
    """Return the only list of as many modules as the model has layers, with its name.

    Raises:
        InvalidRequestError: there is none, as where all layers share their parameters, or there are several.
    """
    count = getattr(model.config, "num_hidden_layers", None)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    # A list inside a layer may by chance be as long.
    found = [(name, module) for name, module in found if not any(name.startswith(f"{other}.") for other, _ in found)]
    if len(found) != 1:
        raise _refused(f"needs one list of layers, and {type(model).__name__} has {len(found)} of {count} modules")
    return found[0]


def _smaller_config(config: Any, count: int, keep: Sequence[int]) -> Any:
    """Return the configuration of the smaller model: fewer layers, and fewer entries where there is one for each."""
    smaller = copy.deepcopy(config)
    for name, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == count and name != "architectures":
            setattr(smaller, name, [value[layer] for layer in keep])
    smaller.num_hidden_layers = len(keep)
    return smaller


def _with_config(model: Any, config: Any) -> Any:
    # Random numbers are for what trains: a model without its initial weights must not use them up.
    with torch.random.fork_rng(devices=[]):
        smaller = type(model)._from_config(config, dtype=model.dtype)
    return smaller.train(model.training)


def freeze(model: SentenceTransformer, patterns: Sequence[str]) -> None:
    """Keep the parameters that match from training.

    Args:
        model: the model.
        patterns: regular expressions over the names that parameters have in a loss, which holds the model as `model`.

    Raises:
        InvalidRequestError: a pattern matches nothing, or nothing is left to train.
    """
    for place, pattern in enumerate(patterns):
        found = [parameter for name, parameter in model.named_parameters() if re.search(pattern, f"model.{name}")]
        if not found:
            message = f"{pattern!r} matches no parameter of the model"
            raise InvalidRequestError.at(f"model.freeze.{place}", message)
        for parameter in found:
            parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in model.parameters()):
        raise InvalidRequestError.at("model.freeze", "leaves no parameter to train")
