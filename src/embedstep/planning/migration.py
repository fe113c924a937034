"""A request made of older training arguments, with a table of what became of each.

The arguments come from a JSON dump, a YAML file, a model card, or the call in a script, which is parsed and never run.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embedstep.errors import InvalidRequestError, Problem
from embedstep.planning.model_card import read_model_card
from embedstep.planning.placeholders import ANCHOR, EVAL_FILE, POSITIVE, TRAIN_FILE, VALUE
from embedstep.planning.rules import check_rules
from embedstep.planning.script import parse_script
from embedstep.planning.script_arguments import read_arguments
from embedstep.planning.script_parts import Parts, read_parts
from embedstep.request.arguments.renames import OLDER_NAMES
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.table import CONTRACT
from embedstep.request.document import parse_document
from embedstep.request.loading import problems_of_arguments
from embedstep.request.scalars import plain
from embedstep.request.schema import TrainRequest

_PICKLE = (
    "is a pickle, which may run any code when it is loaded; if you trust it, write "
    "torch.load(path, weights_only=False).to_json_string() to a file, and migrate that"
)
_FILL_IN = "# Fill in what is written in <...>; `embedstep check` refuses what is left.\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Migrated:
    """What became of older arguments.

    Attributes:
        request: the text of the request.
        table: a row for each argument: its name, what becomes of it, and why.
        problems: what has to be changed by hand; it is left out of the request.
    """

    request: str
    table: tuple[tuple[str, str, str], ...]
    problems: tuple[Problem, ...] = ()


def migrate_file(source: str, line: int | None = None) -> Migrated:
    """Read older arguments from a file and turn them into a request.

    Args:
        source: path of the file.
        line: a line of the call to read, in a script that has several.

    Raises:
        InvalidRequestError: the file cannot be read, is a pickle, or holds no training arguments; or it is a script
            with several calls, and no line says which one is meant.
    """
    text = _read_text(source)
    if source.endswith(".py"):
        return _migrate_script(text, line)
    if line is not None:
        raise _refused(source, "is no Python script; remove --line")
    if (card := read_model_card(text)) is not None:
        found: Any = card.arguments
        parts = Parts(model=card.model, loss=card.loss)
    else:
        found, parts = plain(parse_document(text).data), Parts()
    if isinstance(found, Mapping) and isinstance(found.get("arguments"), Mapping):
        found = found["arguments"]
    if not isinstance(found, Mapping) or not found.keys() & CONTRACT.keys():
        raise _refused(source, "holds no training arguments")
    return migrate(found, parts=parts)


def _read_text(source: str) -> str:
    try:
        raw = Path(source).read_bytes()
    except OSError as error:
        raise _refused(source, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    if raw.startswith((b"\x80", b"PK\x03\x04")):
        raise _refused(source, _PICKLE)
    try:
        return raw.decode("utf-8-sig")
    except ValueError:
        raise _refused(source, "is not text in UTF-8") from None


def _refused(source: str, message: str) -> InvalidRequestError:
    return InvalidRequestError([Problem(source, message)])


def _migrate_script(text: str, line: int | None) -> Migrated:
    script = parse_script(text)
    found = read_arguments(script, line)
    parts = read_parts(script, found.uses.trainers)
    return migrate(found.values, found.problems, parts)


def migrate(found: Mapping[str, Any], known: Sequence[Problem] = (), parts: Parts | None = None) -> Migrated:
    """Turn older arguments into a request.

    Args:
        found: plain values by name, from a dump or written by a person.
        known: what was not read; an argument among it becomes a placeholder.
        parts: the other sections, as far as they are known.
    """
    parts = parts or Parts()
    given, problems = dict(found), [*known, *parts.problems]
    try:
        arguments = Arguments.model_validate(given)
    except ValidationError as error:
        problems += problems_of_arguments(error, given)
        wrong = _affected_names(problems, given)
        arguments = Arguments.model_validate({name: value for name, value in given.items() if name not in wrong})
    problems += _check_arguments(arguments)
    wrong = _affected_names(problems, CONTRACT)
    kept = {
        name: value
        for name, value in arguments.model_dump(mode="json", exclude_unset=True).items()
        if name not in wrong and _is_written(name, arguments)
    }
    # In a dump, values without effect among the others are defaults; written by a person they are contradictions.
    idle = _affected_names(_check_arguments(Arguments.model_validate(kept)), kept) if arguments.is_dump else set()
    kept = {name: value for name, value in kept.items() if name not in idle}
    rows = _rows(found, arguments, wrong | _affected_names(problems, given), idle)
    not_read = {problem.path.partition(".")[2]: problem.message for problem in known}
    open_rows = [(name, "open", message.partition(";")[0]) for name, message in not_read.items() if name]
    unfilled = {name: VALUE for name in not_read if name in CONTRACT and name not in kept}
    has_evaluation = _has_evaluation(Arguments.model_validate(kept)) or bool(unfilled.keys() & _EVALUATION)
    return Migrated(
        request=_request({**kept, **unfilled}, has_evaluation, parts),
        table=(*parts.rows, *rows, *open_rows),
        problems=tuple(problems),
    )


def _check_arguments(arguments: Arguments) -> list[Problem]:
    """Return the problems of a request with these arguments and every section that they may need."""
    others = parse_document(_sections(_has_evaluation(arguments), Parts())).data
    request = TrainRequest.model_validate({**others, "arguments": arguments})
    return [problem for problem in check_rules(request) if problem.path.startswith("arguments.")]


_EVALUATION = {"eval_strategy", "evaluation_strategy", "do_eval"}


def _has_evaluation(arguments: Arguments) -> bool:
    return arguments.eval_strategy != "no" or bool(arguments.do_eval)


def _sections(has_evaluation: bool, parts: Parts) -> str:
    """Return the text of all sections but the arguments."""
    lines = [f"model: {_in_line(parts.model)}", "data:", "  train:", *_datasets(parts.datasets, TRAIN_FILE)]
    if has_evaluation:
        lines += ["  eval:", *_datasets(parts.datasets, EVAL_FILE)]
    return "\n".join([*lines, f"loss: {_in_line(parts.loss)}", ""])


def _datasets(names: Sequence[str], path: str) -> Iterator[str]:
    columns = f"{{anchor: {_in_line(ANCHOR)}, positive: {_in_line(POSITIVE)}}}"
    yield from (f"    {name}: {{path: {_in_line(path)}, columns: {columns}}}" for name in names)


def _in_line(value: Any) -> str:
    """Return a value as JSON, which is YAML, too."""
    return json.dumps(value, ensure_ascii=False)


def _affected_names(problems: Sequence[Problem], names: Collection[str]) -> set[str]:
    """Return the arguments that have a problem: `lr_scheduler_kwargs` for `arguments.lr_scheduler_kwargs.power`."""
    paths = [f"{problem.path}." for problem in problems]
    return {name for name in names if any(path.startswith(f"arguments.{name}.") for path in paths)}


def _is_written(name: str, arguments: Arguments) -> bool:
    """Whether the new request sets an argument: older names are replaced, and what is always done is left out."""
    older = OLDER_NAMES.get(name)
    if older is not None:
        return not older(arguments)
    return CONTRACT[name].current_name != "" or CONTRACT[name].support == "implemented"


def _rows(
    found: Mapping[str, Any], arguments: Arguments, wrong: set[str], idle: set[str]
) -> Iterator[tuple[str, str, str]]:
    for name in found:
        row = CONTRACT.get(name)
        if row is None and name not in wrong:
            continue  # a dump also has facts of the machine
        if name in wrong or row is None:
            yield name, "refused", row.instead if row else "no training argument"
        elif name in idle:
            yield name, "left out", "it has no effect with the others"
        elif name not in arguments.model_fields_set:
            if not arguments.is_dump or found[name] not in (row.default, None, False, "", [], {}):
                yield name, "left out", "it is derived from others or from the machine" if arguments.is_dump else "null"
        elif row.support == "translated" and row.current_name != name:
            yield name, "renamed" if name in OLDER_NAMES else "translated", row.current_name or "always done"
        elif row.support == "implemented":
            yield name, "implemented", row.by
        else:
            yield name, "kept", ""


def _request(arguments: Mapping[str, Any], has_evaluation: bool, parts: Parts) -> str:
    lines = [f"  {name}: {_in_line(value)}" for name, value in arguments.items()]
    head = _FILL_IN + _sections(has_evaluation, parts)
    return head + "\n".join(["arguments:", *lines] if lines else ["arguments: {}"]) + "\n"
