"""Arguments as they were written, without what follows from them: plain data that reads back as equal arguments."""

from collections.abc import Mapping
from typing import Any

from embedstep.request.arguments.reading import IS_DUMP, looks_like_a_dump
from embedstep.request.arguments.renames import MERGED, OLDER_NAMES
from embedstep.request.arguments.table import ArgumentTable


def to_lossless(arguments: ArgumentTable) -> dict[str, Any]:
    """Return what was written, without the values that reading adds under current names.

    `Arguments.model_validate` makes equal arguments of it, with the same fields set, and a dump stays a dump. A list
    or mapping that was changed in place counts as written.
    """
    values = arguments.model_dump(warnings=False)
    fields = type(arguments).model_fields
    written = {
        name: value
        for name, value in values.items()
        if name in arguments.model_fields_set or getattr(arguments, name) != fields[name].default
    }
    for name, added in _added_by_reading(arguments).items():
        found = getattr(arguments, name)
        own = _without(found, added) if name in MERGED else found
        if found == added or (name in MERGED and own is None):
            written.pop(name, None)
        elif name in MERGED:
            written[name] = own
    is_in_doubt = arguments.is_dump or looks_like_a_dump(written)
    return {**written, IS_DUMP: arguments.is_dump} if is_in_doubt else written


def _added_by_reading(arguments: ArgumentTable) -> Mapping[str, Any]:
    """Return what reading sets under current names, apart from what was written there."""
    fields = type(arguments).model_fields
    bare = arguments.model_copy(update={name: fields[name].default for name in MERGED})
    added: dict[str, Any] = {}
    for older in OLDER_NAMES.keys() & arguments.model_fields_set:
        for name, value in OLDER_NAMES[older](bare).items():
            added[name] = {**added.get(name, {}), **value} if isinstance(value, Mapping) else value
    return added


def _without(found: Any, added: Any) -> Any:
    """Return the part of a value that reading would not add, and None if nothing is left."""
    if found == added:
        return None
    if isinstance(found, dict) and isinstance(added, dict):
        return {key: value for key, value in found.items() if key not in added or added[key] != value} or None
    if isinstance(found, list) and isinstance(added, list) and found[-len(added) :] == added:
        return found[: -len(added)]
    return found
