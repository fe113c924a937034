"""`--set section.key=value`: one value put into a document before it becomes a request."""

from collections.abc import Iterator, Sequence
from typing import Any

from embedstep.errors import Problem, RefusedError
from embedstep.request.document import Document, parse_document


def apply_overrides(document: Document, overrides: Sequence[str]) -> Iterator[Problem]:
    """Set each `section.key=value` inside the document, making the mappings on the way; yield what cannot be set.

    Args:
        document: changed in place.
        overrides: in their order; the value is read as YAML, and a number in the path counts a list's items from 0.
    """
    for override in overrides:
        try:
            path = _apply(document.data, override)
        except RefusedError as error:
            yield from (Problem(f"--set {override.partition('=')[0]}", problem.message) for problem in error.problems)
        else:
            document.mark_override(path)


def _apply(data: dict[str, Any], override: str) -> tuple[str | int, ...]:
    """Set one value and return its path.

    Raises:
        RefusedError: the path leads nowhere, or the value is no YAML.
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


def _key(here: Any, key: str, path: Sequence[str | int]) -> str | int:
    """Return `key` as a mapping takes it or, as a number, as a list does."""
    if isinstance(here, dict):
        return key
    if not isinstance(here, list):
        raise _refused(f"{'.'.join(map(str, path))} holds a value, not a mapping; set it whole")
    if not key.isdecimal() or int(key) >= len(here):
        raise _refused(f"{key!r} is not an item of a list of {len(here)}")
    return int(key)


def _refused(message: str) -> RefusedError:
    return RefusedError([Problem("", message)])
