"""Document to request: a frozen `TrainRequest`, or every problem at once, each with its path, line and remedy."""

import copy
import difflib
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from embedstep.errors import InvalidRequestError, Problem
from embedstep.request.arguments.schema import Arguments
from embedstep.request.document import Document, Path, parse_document
from embedstep.request.overrides import apply_overrides
from embedstep.request.scalars import plain
from embedstep.request.schema import TrainRequest
from embedstep.runtime.secrets import SECRET_NAME

_LONGEST_SHOWN = 60
_GIVEN = "; "
_NEEDED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
}


def read_request(source: str, overrides: Sequence[str] = ()) -> TrainRequest:
    """Read the request in the file `source`, or on standard input for `-`.

    Args:
        source: path of a YAML or JSON file, or `-`.
        overrides: `section.key=value` each, applied on top in their order; the value is read as YAML.

    Raises:
        InvalidRequestError: with every problem that was found.
    """
    return load_request(_read_text(source), overrides)


def load_request(text: str, overrides: Sequence[str] = ()) -> TrainRequest:
    """Turn the text of a request into a frozen value.

    Args:
        text: the document, YAML or JSON.
        overrides: `section.key=value` each, applied on top in their order.

    Raises:
        InvalidRequestError: with every problem that was found; its remainder is the request without the faulty
            places, if that is a request.
    """
    document = parse_document(text)
    if not isinstance(document.data, dict):
        raise InvalidRequestError([Problem("", "a request is a mapping with the keys model, data and loss")])
    problems = list(apply_overrides(document, overrides))
    try:
        request = TrainRequest.model_validate(document.data)
    except ValidationError as error:
        found = _problems(error, document)
        raise InvalidRequestError([*problems, *_told(found)], _without(document.data, found)) from None
    if problems:
        raise InvalidRequestError(problems, request)
    return request


def _without(data: Any, places: Iterable[Path]) -> TrainRequest | None:
    """Return the request that is left when the faulty places are taken out, or None if that is none."""
    rest = copy.deepcopy(data)
    # From the back, so that the numbers of a list's earlier items stay what they are.
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
        raise InvalidRequestError([Problem(source, f"cannot be read: {os.strerror(error.errno or 0)}")]) from None
    except ValueError:
        raise InvalidRequestError([Problem(source, "is not text in UTF-8")]) from None


def show(value: Any, name: str = "") -> str:
    """Return `value` as a person would recognise it in a message: short, on one line, and never a secret's value."""
    if SECRET_NAME.search(name):
        return "a value that is not shown"
    text = repr(plain(value))
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def problems_of_arguments(error: ValidationError, data: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with arguments that were validated by themselves, with paths as in a request."""
    return _told(_problems(error, Document(data={"arguments": dict(data)}), ("arguments",)))


def _told(messages: Mapping[Path, str]) -> list[Problem]:
    return [Problem(".".join(map(str, path)), message) for path, message in messages.items()]


def _problems(error: ValidationError, document: Document, section: Path = ()) -> dict[Path, str]:
    """One message for each place: the members of a union each complain, and only their sum makes sense.

    Args:
        error: of the whole document, or of one section of it.
        document: the whole document.
        section: where what was validated stands in it.
    """
    by_path: dict[Path, list[str]] = {}
    for detail in error.errors(include_url=False):
        location = (*section, *detail["loc"])
        path = tuple(_real_path(location, document.data, missing=detail["type"] == "missing"))
        message = _message(dict(detail), path)
        if message not in by_path.setdefault(path, []):
            by_path[path].append(message)
    return {path: f"{_either(messages)}{document.place_of(path)}" for path, messages in by_path.items()}


def _either(messages: Sequence[str]) -> str:
    """Join what each member of a union would take, and say once what was given."""
    *others, last = messages
    return " or ".join([*(message.rpartition(_GIVEN)[0] or message for message in others), last])


def _real_path(loc: Iterable[str | int], data: Any, *, missing: bool) -> Iterator[str | int]:
    """Leave out of a pydantic location what names a union member or a short form, and no key of the document."""
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
        return f"must be {_choices(detail)}{_GIVEN}{show(given, name)} was given{_nearest(given, detail)}"
    needed = detail["ctx"]["told"] if kind == "spelling" else _NEEDED.get(kind)
    if needed:
        return f"needs {needed}{_GIVEN}{show(given, name)} was given"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}{_GIVEN}{show(given, name)} was given"


def _choices(detail: Mapping[str, Any]) -> str:
    return str(detail["ctx"]["expected"]).replace("'", "")


def _nearest(given: Any, detail: Mapping[str, Any]) -> str:
    words = re.findall(r"'([^']*)'", str(detail["ctx"]["expected"]))
    near = difflib.get_close_matches(str(plain(given)).lower(), words, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _unknown(name: str, path: Sequence[str | int]) -> str:
    """Name the nearest known key of the section that an unknown key stands in."""
    section = _section_at(path[:-1])
    known = list(section.model_fields) if section else []
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    near = near or [field for field in known if len(name) > 3 and name in field][:1]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}" if len(known) < 20 else ""
    what = "not a training argument" if section is Arguments else "not a known key"
    return f"is {what}; {hint}" if hint else f"is {what}"


def _section_at(path: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model of the section at `path`, following mappings and lists to the model inside."""
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
