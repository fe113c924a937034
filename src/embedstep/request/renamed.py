"""Former names of request fields.

A document of a user is refused with the current name. A document that an earlier release has stored is translated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

RENAMED_FIELDS = {
    ("launch", "meeting_minutes"): "join_timeout_minutes",
    ("promotion", "slice_loss"): "max_slice_loss",
    ("promotion", "documents"): "index_size",
}
"""Current name of each renamed field by its section and its name in 0.1.0."""


def current_field(path: Sequence[str | int]) -> str | None:
    """Return the current path of a renamed field, or None if the field at `path` was not renamed."""
    if len(path) != 2 or (name := RENAMED_FIELDS.get((str(path[0]), str(path[1])))) is None:
        return None
    return f"{path[0]}.{name}"


def with_current_fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored request with the current names of its fields."""
    return {
        section: {RENAMED_FIELDS.get((section, name), name): value for name, value in fields.items()}
        if isinstance(fields, dict)
        else fields
        for section, fields in request.items()
    }
