"""The table of arguments for a reader: as records, as text for a terminal, as a page of Markdown."""

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from embedstep.arguments.fates import FATES, Contract, types_of
from embedstep.arguments.schema import CONTRACT, GROUPS, Arguments
from embedstep.errors import Problem, RefusedError

_HEAD = """# Training arguments

Made by `make golden` from the table in `src/embedstep/arguments/schema.py`. It holds the 120 arguments that
sentence-transformers 3.0 with transformers 4.37 documented, and those that came later. A request may use the names of
either era; both at once are accepted when they agree.
"""


def argument_records() -> list[dict[str, Any]]:
    """Return a record for each argument: name, type, group, default, fate, today, since, description, by, instead."""
    types = types_of(Arguments)
    return [row.to_json(types[row.name]) for row in CONTRACT.values()]


def argument_record(name: str) -> dict[str, Any]:
    """Return the record of one argument.

    Raises:
        RefusedError: there is no such argument; the nearest name is told.
    """
    if name not in CONTRACT:
        near = difflib.get_close_matches(name, CONTRACT, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RefusedError([Problem(name, f"is not a training argument{hint}")])
    return CONTRACT[name].to_json(types_of(Arguments)[name])


def in_lines(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what there is to say of one argument, as pairs of a word and a text."""
    words = {
        "what": record["description"],
        "type": record["type"],
        "default": json.dumps(record["default"]),
        "fate": f"{record['fate']}: {FATES[record['fate']]}",
        "today": record["today"],
        "by": record["by"],
        "instead": record["instead"],
        "since": record["since"],
    }
    return [(word, text) for word, text in words.items() if text]


def arguments_page() -> str:
    """Return `docs/arguments.md`."""
    types = types_of(Arguments)
    parts = [_HEAD, *(f"- *{fate}*: {meaning}." for fate, meaning in FATES.items())]
    for group in GROUPS:
        rows = [row for row in CONTRACT.values() if row.name in group.model_fields]
        parts += [f"\n## {group.__name__}\n", f"{group.__doc__}\n", *_table(rows, types)]
    return "\n".join([*parts, _TAIL])


def _table(rows: Sequence[Contract], types: dict[str, str]) -> Iterator[str]:
    yield "| argument | type | default | fate | |"
    yield "|---|---|---|---|---|"
    for row in rows:
        told = " ".join(filter(None, [row.description, _more(row)]))
        yield f"| `{row.name}` | {_short(types[row.name])} | `{json.dumps(row.default)}` | {row.fate} | {told} |"


def _short(type_: str) -> str:
    """A long list of choices is left to the JSON Schema."""
    return type_ if len(type_) < 90 else "one of many, see `embedstep arguments NAME`"


def _more(row: Contract) -> str:
    if row.instead:
        return f"Only the default: {row.instead}."
    if row.by:
        return f"By {row.by}."
    if row.fate == "translated" and row.today not in ("", row.name):
        return f"Today `{row.today}`."
    return ""


_TAIL = """
## Differences from the seed's class, on purpose

- `report_to: null` records with `tracking` alone, where the class took every tracker that happened to be installed.
- `hub_token` and `push_to_hub_token` take `{from_env: NAME}`, never the token.
- A training is evaluated once more at its end, when there is data for it, because the step reports the model it saves.
- `warmup_steps` may be a share below 1, as in transformers 5; the seed's class took it for a part of a step.
- A word outside the choices, a negative batch size or a ratio outside 0 to 1 is refused when the request is read, where
  the class failed late or not at all.
"""
