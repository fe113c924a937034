"""The table of arguments for a reader: as records, as text for a terminal, as a page of Markdown."""

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from embedstep.errors import InvalidRequestError, Problem
from embedstep.request.arguments.fates import FATES, Contract, types_of
from embedstep.request.arguments.schema import CONTRACT, GROUPS, Arguments

_HEAD = """# Training arguments

Made by `make golden` from the table in `src/embedstep/request/arguments/schema.py`. It holds the 120 arguments that
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
        InvalidRequestError: there is no such argument; the nearest name is told.
    """
    if name not in CONTRACT:
        near = difflib.get_close_matches(name, CONTRACT, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidRequestError([Problem(name, f"is not a training argument{hint}")])
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
- On resume the intervals of logging, evaluation and saving are those of the request; the class went on with those of
  the checkpoint.
- `label_smoothing_factor` smooths the labels of losses that end in a cross-entropy over classes; the class ignored it.
- A word outside the choices, a negative batch size or a ratio outside 0 to 1 is refused when the request is read, where
  the class failed late or not at all.

What the class wrote and took, case by case: of 263 constructor calls and 43 setter calls with their recorded outcomes,
all others agree.

Written otherwise:

- `per_device_train_batch_size: "16"`, `learning_rate: "5e-5"`, `adam_epsilon: "1e-8"`: a number as text is read as the
  number.
- `lr_scheduler_kwargs` and `gradient_checkpointing_kwargs` as text: a mapping as JSON text is read as the mapping.
- `push_to_hub_model_id: org/m`: the seed doubled an owner that was given.
- `prediction_loss_only` after a setter: the constructor forces it, and a dump is of constructed arguments.
- `report_to` after a setter: the constructor makes a list of the word.

Refused here:

- `log_level: bogus`, `log_level_replica: bogus`, `set_logging(level=...)` with such a word: unknown levels are refused
  at once, not when the trainer is built.
- `push_to_hub_token: ...`, alone and beside `hub_token: ...`, `set_push_to_hub(token=...)`: a token has no place in a
  request.

Taken here:

- `evaluation_strategy: false`, `save_strategy: false`: YAML 1.1 reads the word no as false.
- `lr_scheduler_type: cosine_with_min_lr`, `batch_sampler: no_duplicates_hashed`: it came later.
- `fp16: true`, `fp16_full_eval: true`, `tf32: true` on a machine without a GPU: a fact of the machine, which a request
  does not know; `plan` and `run` refuse what the machine cannot do.
"""
