"""Builds the losses of a request as torch modules. Names become the library's functions; nothing else is decided."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, util
from sentence_transformers.sentence_transformer import losses as library
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from embedstep.errors import InvalidRequestError, Problem
from embedstep.planning.losses import LossKind, loss_kind
from embedstep.request import schema
from embedstep.request.extensions import is_reference, load
from embedstep.request.options import option_values
from embedstep.worker.models import load_saved


def build_loss(loss: schema.Loss, model: SentenceTransformer, *, label_smoothing: float = 0.0) -> torch.nn.Module:
    """Build a checked loss for `model`, with the loss inside it if it is a wrapper.

    Args:
        loss: section of the request, already checked.
        model: the model to train; losses with a classifier take the embedding dimension from it.
        label_smoothing: share of each label that is spread evenly over all classes, if the loss ends in a
            cross-entropy: torch's own formula, which is also that of `LabelSmoother` in transformers 4.37.2.

    Returns:
        The module. Its forward takes one feature dictionary per text column and the labels (or None), and returns a
        scalar, or a dictionary of scalars whose sum is the loss.

    Raises:
        InvalidRequestError: the loss does not work with this model.
    """
    kind = loss_kind(loss.kind)
    if kind.needs_transformer and isinstance(model[0], StaticEmbedding):
        raise _refused(kind, "it needs a transformer, and the model is a static embedding")
    arguments: dict[str, Any] = {"model": model, **kind.fixed}
    if loss.loss is not None:
        arguments["loss"] = build_loss(loss.loss, model, label_smoothing=label_smoothing)
    if kind.classes is not None:
        arguments["embedding_dimension"] = model.get_embedding_dimension()
    for name, value in option_values(kind.options, loss.options).items():
        arguments[name] = _argument(kind, name, value, model)
    precision = next(model.parameters()).dtype
    try:
        built = _class(kind)(**arguments)
    except (ValueError, OSError, AssertionError) as error:
        raise _refused(kind, str(error) or f"it starts with a {type(model[0]).__name__}") from error
    if kind.class_name == "DenoisingAutoEncoderLoss":
        # The decoder is loaded in the precision of its files, and a tied one has replaced the weights of the model.
        built.decoder.to(precision)
    if kind.cross_entropy is not None:
        setattr(built, kind.cross_entropy, torch.nn.CrossEntropyLoss(label_smoothing=label_smoothing))
    return built


def require_matches(rates: Mapping[str, float], losses: Mapping[str, torch.nn.Module]) -> None:
    """Check that each pattern of `learning_rate_mapping` matches a parameter, before the library does so in training.

    Args:
        rates: learning rates by pattern.
        losses: the loss of each dataset; the library leaves out the name of a single one.

    Raises:
        InvalidRequestError: a pattern matches none.
    """
    module = torch.nn.Sequential(OrderedDict(losses)) if len(losses) > 1 else next(iter(losses.values()))
    names = [name for name, _ in module.named_parameters()]
    problems = [
        Problem(f"arguments.learning_rate_mapping.{pattern}", f"matches no parameter; names are such as {names[0]}")
        for pattern in rates
        if not any(re.search(pattern, name) for name in names)
    ]
    if problems:
        raise InvalidRequestError(problems)


def _refused(kind: LossKind, message: str) -> InvalidRequestError:
    return InvalidRequestError([Problem("loss", f"{kind.name} does not work with this model: {message}")])


def _class(kind: LossKind) -> Callable[..., torch.nn.Module]:
    name = kind.built_as or kind.class_name
    try:
        found: Callable[..., torch.nn.Module] = load(name) if is_reference(name) else getattr(library, name)
    except ValueError as error:
        raise InvalidRequestError([Problem("loss", f"{kind.name}: {error}")]) from error
    return found


def _argument(kind: LossKind, name: str, value: Any, model: SentenceTransformer) -> Any:
    """Return an option's value as the constructor takes it: the function in place of its name."""
    if is_reference(kind.class_name):
        return value
    if name == "similarity_fct":
        return getattr(util, value)
    if name == "distance_metric":
        return _distance(kind, value)
    if name == "guide":
        return _guide(kind, value, model)
    return value


def _distance(kind: LossKind, name: str) -> Any:
    if kind.class_name in ("ContrastiveLoss", "OnlineContrastiveLoss"):
        return getattr(library.SiameseDistanceMetric, name.upper())
    if kind.class_name == "TripletLoss":
        return getattr(library.TripletDistanceMetric, name.upper())
    if kind.class_name == "EmbedDistillLoss":
        return name
    return getattr(library.BatchHardTripletLossDistanceFunction, name)


def _guide(kind: LossKind, source: str, model: SentenceTransformer) -> SentenceTransformer:
    """Load the guide from a folder or the local cache, frozen: the optimizer would train it as part of the loss."""
    try:
        guide = load_saved(source, device=str(model.device), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _refused(kind, f"the guide {source} cannot be loaded: {error}") from error
    guide.requires_grad_(False)
    return guide
