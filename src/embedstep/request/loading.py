"""Turn a document into a frozen `TrainRequest`, or raise all its problems, each with path, line and remedy."""

import copy
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from embedstep.errors import InvalidRequestError, Problem, suggest
from embedstep.request.arguments.renames import OLDER_NAMES
from embedstep.request.arguments.schema import Arguments
from embedstep.request.document import Document, Path, parse_document
from embedstep.request.overrides import apply_overrides
from embedstep.request.renamed import current_field
from embedstep.request.scalars import plain
from embedstep.request.schema import TrainRequest
from embedstep.runtime.secrets import SECRET_NAME
from embedstep.runtime.text import shorten

_LONGEST_SHOWN = 60
_GIVEN = "; "
_NOT_AN_ARGUMENT = {
    "early_stopping_patience": "early_stopping: {patience: ...}, a section of its own",
    "early_stopping_threshold": "early_stopping: {patience: ..., threshold: ...}, a section of its own",
}
"""Settings that libraries keep elsewhere than in the training arguments, and where a request has them."""
_SHORT_FOR = {
    "lr": "learning_rate",
    "bs": "per_device_train_batch_size",
    "wd": "weight_decay",
    "warmup": "warmup_steps",
    "scheduler": "lr_scheduler_type",
    "grad_accum": "gradient_accumulation_steps",
}
"""Names that people write for arguments, and that are not similar to them."""
_NEEDED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
}


def read_request(source: str, overrides: Sequence[str] = ()) -> TrainRequest:
    """Read a request from a file.

    Args:
        source: path of a YAML or JSON file, or `-` for standard input.
        overrides: `section.key=value` each, applied in order; the value is parsed as YAML.

    Raises:
        InvalidRequestError: with all problems.
    """
    return load_request(_read_text(source), overrides)


def load_request(text: str, overrides: Sequence[str] = ()) -> TrainRequest:
    """Parse and validate the text of a request.

    Args:
        text: the document, YAML or JSON.
        overrides: `section.key=value` each, applied in order.

    Raises:
        InvalidRequestError: with all problems; its remainder is the request without the invalid fields, if that is a
            request.
    """
    document = parse_document(text)
    if not isinstance(document.data, dict):
        raise InvalidRequestError.at("", "a request is a mapping with the keys model, data and loss")
    problems = list(apply_overrides(document, overrides))
    try:
        request = TrainRequest.model_validate(document.data)
    except ValidationError as error:
        messages = _messages(error, document)
        raise InvalidRequestError([*problems, *_as_problems(messages)], _without(document.data, messages)) from None
    if problems:
        raise InvalidRequestError(problems, request)
    return request


def _without(data: Any, places: Iterable[Path]) -> TrainRequest | None:
    """Return the request without the invalid fields, or None if that is not a request."""
    rest = copy.deepcopy(data)
    # Backwards, so that the indices of earlier items of a list stay valid.
    for *parents, last in sorted(places, key=lambda path: [str(key).rjust(6) for key in path], reverse=True):
        here = rest
        for key in parents:
            here = here[key] if _holds(here, key) else {}
        if _holds(here, last):
            del here[last]
    try:
        return TrainRequest.model_validate(rest)
    except ValidationError:
        return None


def _read_text(source: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else pathlib.Path(source).read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InvalidRequestError.at(source, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    except ValueError:
        raise InvalidRequestError.at(source, "is not text in UTF-8") from None


def show(value: Any, name: str = "") -> str:
    """Return `value` for a message: short, on one line, and hidden if `name` is the name of a secret."""
    if SECRET_NAME.search(name):
        return "a value that is not shown"
    return shorten(repr(plain(value)), _LONGEST_SHOWN)


def problems_of_arguments(error: ValidationError, data: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of arguments that were validated without a request, with their paths in a request."""
    return _as_problems(_messages(error, Document(data={"arguments": dict(data)}), ("arguments",)))


def problems_of_section(error: ValidationError, data: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of a section that is no part of a request, with the paths of its fields."""
    return _as_problems(_messages(error, Document(data=dict(data))))


def _as_problems(messages: Mapping[Path, str]) -> list[Problem]:
    return [Problem(".".join(map(str, path)), message) for path, message in messages.items()]


def _messages(error: ValidationError, document: Document, section: Path = ()) -> dict[Path, str]:
    """Return one message for each field: the members of a union have an error each, and only their sum makes sense.

    Args:
        error: of the whole document, or of one of its sections.
        document: the whole document.
        section: path of the section that was validated.
    """
    by_path: dict[Path, list[str]] = {}
    for detail in error.errors(include_url=False):
        location = (*section, *detail["loc"])
        path = tuple(_real_path(location, document.data, missing=detail["type"] == "missing"))
        message = _message(dict(detail), path)
        if message not in by_path.setdefault(path, []):
            by_path[path].append(message)
    return {path: f"{_either(messages)}{document.line_note(path)}" for path, messages in by_path.items()}


def _either(messages: Sequence[str]) -> str:
    """Join the messages of a union's members, with the given value once."""
    *others, last = messages
    return " or ".join([*(message.rpartition(_GIVEN)[0] or message for message in others), last])


def _real_path(loc: Iterable[str | int], data: Any, *, missing: bool) -> Iterator[str | int]:
    """Drop the parts of a pydantic location that are no keys of the document: union members and short forms."""
    *parents, last = loc
    here = data
    for key in parents:
        if _holds(here, key):
            here = here[key]
            yield key
    if missing or _holds(here, last):
        yield last


def _holds(here: Any, key: str | int) -> bool:
    if isinstance(here, list):
        return isinstance(key, int) and 0 <= key < len(here)
    return isinstance(here, dict) and key in here


def _message(detail: Mapping[str, Any], path: Sequence[str | int]) -> str:
    kind, given, name = detail["type"], detail.get("input"), str(path[-1]) if path else ""
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return _unknown(name, path)
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "literal_error":
        return f"must be {_choices(detail)}{_GIVEN}{show(given, name)} was given{_suggest_choice(given, detail)}"
    needed = detail["ctx"]["message"] if kind == "pattern" else _NEEDED.get(kind)
    if needed:
        return f"needs {needed}{_GIVEN}{show(given, name)} was given"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}{_GIVEN}{show(given, name)} was given"


def _choices(detail: Mapping[str, Any]) -> str:
    return str(detail["ctx"]["expected"]).replace("'", "")


def _suggest_choice(given: Any, detail: Mapping[str, Any]) -> str:
    return suggest(str(plain(given)), re.findall(r"'([^']*)'", str(detail["ctx"]["expected"])))


def _unknown(name: str, path: Sequence[str | int]) -> str:
    """Return the message for an unknown key: its current name, a similar key, or the keys of its section."""
    if (current := current_field(path)) is not None:
        return f"is now {current}"
    section = _section_at(path[:-1])
    if section is Arguments and name in _NOT_AN_ARGUMENT:
        return f"is not a training argument; write {_NOT_AN_ARGUMENT[name]}"
    if section is Arguments and name in _SHORT_FOR:
        return f"is not a training argument; did you mean {_SHORT_FOR[name]}?"
    known = list(section.model_fields) if section else []
    if section is Arguments:  # an older name would be accepted, and is not the one to write
        known = [field for field in known if field not in OLDER_NAMES]
    # A key that contains the given one (`batch_size`) is a better guess than one that is only somewhat similar.
    containing = next((f"; did you mean {field}?" for field in known if len(name) > 3 and name in field), "")
    hint = suggest(name, known, cutoff=0.8) or containing or suggest(name, known)
    if not hint and len(known) < 20:
        hint = f"; known are {', '.join(known)}"
    return f"is not a {'training argument' if section is Arguments else 'known key'}{hint}"


def _section_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model of the section at `path`, also inside mappings and lists."""
    section: type[BaseModel] | None = TrainRequest
    for key in path:
        if section is not None and key in section.model_fields:
            section = _model_inside(section.model_fields[str(key)].annotation)
    return section


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if (model := _model_inside(part)) is not None:
            return model
    return None
