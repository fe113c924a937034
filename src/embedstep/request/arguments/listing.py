"""The table of arguments for readers: as records, and as lines for a terminal."""

import json
from typing import Any

from embedstep.errors import InvalidRequestError, Problem, suggest
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.support import SUPPORT_MEANINGS, types_of
from embedstep.request.arguments.table import CONTRACT


def argument_records() -> list[dict[str, Any]]:
    """Return a record for each argument, in the order of the table."""
    types = types_of(Arguments)
    return [row.to_json(types[row.name]) for row in CONTRACT.values()]


def argument_record(name: str) -> dict[str, Any]:
    """Return the record of one argument.

    Raises:
        InvalidRequestError: there is no such argument; the message names the nearest one.
    """
    if name not in CONTRACT:
        raise InvalidRequestError([Problem(name, f"is not a training argument{suggest(name, CONTRACT)}")])
    return CONTRACT[name].to_json(types_of(Arguments)[name])


def in_lines(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the record of one argument as pairs of a heading and a text."""
    words = {
        "what": record["description"],
        "type": record["type"],
        "default": json.dumps(record["default"]),
        "support": f"{record['support']}: {SUPPORT_MEANINGS[record['support']]}",
        "current name": record["current_name"],
        "by": record["by"],
        "instead": record["instead"],
        "since": record["since"],
    }
    return [(word, text) for word, text in words.items() if text]
