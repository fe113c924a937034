"""Places of a request that are still to be filled in: what `migrate` writes where an older file does not say it.

A placeholder is text that can be no real value, so `check` can refuse it wherever it is left.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from embedstep.errors import Problem
from embedstep.request.schema import TrainRequest

MODEL = "<model>"
LOSS = "<loss>"
TRAIN_FILE = "<train.parquet>"
EVAL_FILE = "<eval.parquet>"
ANCHOR = "<anchor column>"
POSITIVE = "<positive column>"
VALUE = "<value>"
PLACEHOLDERS: Mapping[str, str] = {
    MODEL: "the folder of a saved model, or the id of a model on the hub",
    LOSS: "the name of a loss (docs/losses.md)",
    TRAIN_FILE: "the file with the rows for training",
    EVAL_FILE: "the file with the rows for evaluation",
    ANCHOR: "the column with the anchors; name the columns that the loss takes",
    POSITIVE: "the column with the positives; name the columns that the loss takes",
    VALUE: "the value",
}
"""Each placeholder, and what to write in its place."""
_SHORT = {"model.path": "model", "loss.kind": "loss"}
"""Fields that a request writes as the plain text of their section."""


def placeholders_are_filled(request: TrainRequest) -> Iterator[Problem]:
    """No placeholder is left."""
    for path, text in _texts(request.model_dump(mode="json", exclude_unset=True), ()):
        if text in PLACEHOLDERS:
            name = ".".join(part for part in path if part != "*")
            yield Problem(_SHORT.get(name, name), f"is still {text}; fill in {PLACEHOLDERS[text]}")


def without_placeholders(request: TrainRequest, problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems of other fields: that a placeholder is no model and no file says nothing new."""
    unfilled = {problem.path for problem in placeholders_are_filled(request)}
    return [one for one in problems if _SHORT.get(one.path, one.path) not in unfilled]


def _texts(data: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    match data:
        case dict():
            for key, value in data.items():
                yield from _texts(value, (*path, str(key)))
        case list():
            for value in data:
                yield from _texts(value, path)
        case str():
            yield path, data
