"""The training arguments in a model card: the README.md that sentence-transformers writes next to a model."""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedstep.planning.losses import LOSSES
from embedstep.planning.placeholders import LOSS, MODEL

_HEADINGS = ("All Hyperparameters", "Non-Default Hyperparameters")
"""The lists of a card; the first has the values of the second, too."""
_LINE = re.compile(r"^- `(?P<name>[\w]+)`: ?(?P<value>.*)$", re.MULTILINE)
_BASE = re.compile(r"^- \*\*Base model:\*\* \[(?P<name>[^\]]+)\]", re.MULTILINE | re.IGNORECASE)
_LOSS = re.compile(
    r"^\* Loss: [^\n]*?<code>(?P<name>[\w.]+)</code>[^\n]*?"
    r"(?: with these parameters:\s*```json\s*(?P<options>\{.*?\})\s*```)?$",
    re.MULTILINE | re.DOTALL,
)
_CLASSES = {kind.class_name: kind for kind in LOSSES.values()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What a model card says about a training.

    Attributes:
        arguments: training arguments by name.
        model: id or folder of the base model, or its placeholder.
        loss: the loss in the form of a request, or its placeholder.
    """

    arguments: Mapping[str, Any]
    model: str = MODEL
    loss: Any = LOSS


def read_model_card(text: str) -> ModelCard | None:
    """Return what a model card says, or None if a text is no card with training arguments."""
    for heading in _HEADINGS:
        if (section := _section(text, heading)) is not None:
            arguments = {found["name"]: _value(found["value"]) for found in _LINE.finditer(section)}
            base = _BASE.search(text)
            return ModelCard(arguments=arguments, model=base["name"] if base else MODEL, loss=_loss(text))
    return None


def _section(text: str, heading: str) -> str | None:
    """Return the text under a heading, to the next heading."""
    found = re.search(rf"^#+ {re.escape(heading)}\s*$(?P<rest>.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    return found["rest"] if found else None


def _value(text: str) -> Any:
    """Return a value as the card writes it: a Python literal, else text."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text.strip()


def _loss(text: str) -> Any:
    """Return the loss of a card, if it has one loss of the library; several datasets have one each."""
    found = {(one["name"], one["options"]) for one in _LOSS.finditer(text)}
    if len(found) != 1:
        return LOSS
    ((name, options),) = found
    try:
        return _as_request(name, json.loads(options) if options else {})
    except ValueError:
        return LOSS


def _as_request(name: str, parameters: Mapping[str, Any]) -> Any:
    """Return a loss in the form of a request; a parameter that is no option leaves the loss open."""
    kind = _CLASSES.get(name.rpartition(".")[2])
    if kind is None:
        return LOSS
    options = {key: value for key, value in parameters.items() if key in kind.options and value is not None}
    lost = {key for key, value in parameters.items() if key not in kind.options and value is not None}
    if lost - ({"loss"} if kind.wraps else set()):
        return LOSS
    written = {"options": options} if options else {}
    if kind.wraps:
        inner = parameters.get("loss")
        return {"kind": kind.name, **written, "loss": _as_request(inner, {}) if isinstance(inner, str) else LOSS}
    return {"kind": kind.name, **written} if options else kind.name
