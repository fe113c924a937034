"""`--set section.key=value`: set one value of a document before it is validated."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from embedstep.errors import InvalidRequestError, Problem
from embedstep.request.arguments.renames import other_names
from embedstep.request.document import Document, parse_document


def apply_overrides(document: Document, overrides: Sequence[str]) -> Iterator[Problem]:
    """Set each `section.key=value` in the document, with missing mappings on the way; yield the problems.

    An argument also replaces the document's value under its former or current name.

    Args:
        document: changed in place.
        overrides: applied in order; the value is parsed as YAML, and a number in the path is an index of a list.
    """
    set_here: set[tuple[str | int, ...]] = set()
    for override in overrides:
        try:
            path = _apply(document.data, override)
            _replace_other_names(document.data, path, set_here)
        except InvalidRequestError as error:
            yield from (Problem(f"--set {override.partition('=')[0]}", problem.message) for problem in error.problems)
        else:
            document.mark_override(path)
            set_here.add(path)


def _apply(data: dict[str, Any], override: str) -> tuple[str | int, ...]:
    """Set one value and return its path.

    Raises:
        InvalidRequestError: the path does not exist, or the value is not YAML.
    """
    keys, sign, text = override.partition("=")
    parents = keys.strip().split(".")
    if not sign or not all(parents):
        raise _refused("needs the form section.key=value")
    value = parse_document(text).data
    here: Any = data
    path: list[str | int] = []
    last = parents.pop()
    for key in parents:
        path.append(_key(here, key, path))
        if isinstance(here, dict) and here.get(key) is None:
            here[key] = {}
        here = here[path[-1]]
    path.append(_key(here, last, path))
    here[path[-1]] = value
    return tuple(path)


def _replace_other_names(
    data: dict[str, Any], path: Sequence[str | int], set_here: Collection[Sequence[str | int]]
) -> None:
    """Remove the other names of an argument that was set.

    Raises:
        InvalidRequestError: one of them was set as well.
    """
    if path[0] != "arguments" or len(path) == 1:
        return
    for other in other_names(str(path[1])) & data["arguments"].keys():
        if ("arguments", other) in set_here:
            raise _refused(f"is another name of arguments.{other}, which is set as well; set one of them")
        del data["arguments"][other]


def _key(here: Any, key: str, path: Sequence[str | int]) -> str | int:
    """Return `key`, as an integer for a list."""
    if isinstance(here, dict):
        return key
    if not isinstance(here, list):
        raise _refused(f"{'.'.join(map(str, path))} is a value, not a mapping; set all of it")
    if not key.isdecimal() or int(key) >= len(here):
        raise _refused(f"{key!r} is not an index of a list of {len(here)}")
    return int(key)


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError.at("", message)
