"""Older training arguments to a request, with a table of what became of each.

They come from a dump, from a YAML file, or from the call in a script, which is parsed and never run.
"""

import ast
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embedstep.arguments.ledger import check_arguments
from embedstep.arguments.schema import CONTRACT, Arguments
from embedstep.arguments.today import OLDER_NAMES
from embedstep.errors import Problem, RefusedError
from embedstep.request.document import parse_document
from embedstep.request.loading import problems_of_arguments
from embedstep.request.scalars import plain

_CLASSES = ("SentenceTransformerTrainingArguments", "TrainingArguments")
_PICKLE = (
    "is a pickle, which can run anything when it is loaded; where you trust it, write once "
    "torch.load(path, weights_only=False).to_json_string() to a file, and migrate that"
)
_HEAD = """# Fill in the model, the data and the loss; `embedstep check` tells what is missing.
model: MODEL
data:
  train:
    docs: {path: TRAIN.parquet, columns: {anchor: ANCHOR, positive: POSITIVE}}
loss: multiple_negatives_ranking
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Migrated:
    """What became of older arguments.

    Attributes:
        request: the text of the request.
        table: argument, what it becomes, and why, a row each.
        problems: what has to be changed by hand; the request holds none of it.
    """

    request: str
    table: tuple[tuple[str, str, str], ...]
    problems: tuple[Problem, ...] = ()


def migrate_file(source: str) -> Migrated:
    """Read older arguments from a file and turn them into a request.

    Raises:
        RefusedError: the file cannot be read, is a pickle, or holds no training arguments.
    """
    try:
        raw = Path(source).read_bytes()
    except OSError as error:
        raise _refused(source, f"cannot be read: {os.strerror(error.errno or 0)}") from None
    if raw.startswith((b"\x80", b"PK\x03\x04")):
        raise _refused(source, _PICKLE)
    try:
        text = raw.decode("utf-8-sig")
    except ValueError:
        raise _refused(source, "is not text in UTF-8") from None
    found = arguments_in_script(text) if source.endswith(".py") else plain(parse_document(text).data)
    if isinstance(found, Mapping) and isinstance(found.get("arguments"), Mapping):
        found = found["arguments"]
    if not isinstance(found, Mapping) or not found.keys() & CONTRACT.keys():
        raise _refused(source, "holds no training arguments")
    return migrate(found)


def _refused(source: str, message: str) -> RefusedError:
    return RefusedError([Problem(source, message)])


def arguments_in_script(text: str) -> dict[str, Any]:
    """Return the keywords of the first call of the arguments class in a script that are plain values.

    The script is parsed, never run; a keyword whose value is computed is given as the text of its expression.

    Raises:
        RefusedError: the text is no Python, or calls no such class.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise RefusedError([Problem("", f"is no Python: {error}")]) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _CLASSES:
            named = {word.arg: _value(word.value) for word in node.keywords if word.arg}
            return named | ({"output_dir": _value(node.args[0])} if node.args else {})
    raise RefusedError([Problem("", f"calls no {_CLASSES[0]}")])


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        # BatchSamplers.NO_DUPLICATES is the word no_duplicates; what is computed stays as it is written.
        is_enum = isinstance(node, ast.Attribute) and node.attr.isupper()
        return node.attr.lower() if isinstance(node, ast.Attribute) and is_enum else ast.unparse(node)


def migrate(found: Mapping[str, Any]) -> Migrated:
    """Turn older arguments into a request.

    Args:
        found: plain values by name, of a dump or of a person.
    """
    given, problems = dict(found), list[Problem]()
    try:
        arguments = Arguments.model_validate(given)
    except ValidationError as error:
        problems += problems_of_arguments(error, given)
        wrong = _names_in(problems)
        arguments = Arguments.model_validate({name: value for name, value in given.items() if name not in wrong})
    problems += check_arguments(arguments)
    wrong = _names_in(problems)
    kept = {
        name: value
        for name, value in arguments.model_dump(mode="json", exclude_unset=True).items()
        if name not in wrong and _is_written(name, arguments)
    }
    table = [*_rows(found, arguments, wrong), *((name, "refused", "") for name in sorted(wrong - found.keys()))]
    return Migrated(request=_request(kept), table=tuple(table), problems=tuple(problems))


def _names_in(problems: Sequence[Problem]) -> set[str]:
    """The arguments that problems speak of: `lr_scheduler_kwargs` for `arguments.lr_scheduler_kwargs.power`."""
    return {problem.path.split(".")[1] for problem in problems}


def _is_written(name: str, arguments: Arguments) -> bool:
    """Whether an argument stands in the request: older names give way to today's; what happens anyway is left out."""
    older = OLDER_NAMES.get(name)
    if older is not None:
        return not older(arguments)
    return CONTRACT[name].today != "" or CONTRACT[name].fate == "implemented"


def _rows(found: Mapping[str, Any], arguments: Arguments, wrong: set[str]) -> Iterator[tuple[str, str, str]]:
    for name in found:
        row = CONTRACT.get(name)
        if name in wrong or row is None:
            yield name, "refused", row.instead if row else "no training argument"
        elif name not in arguments.model_fields_set:
            yield from () if arguments.is_dump else [(name, "left out", "it is the default")]
        elif row.fate == "translated" and row.today != name:
            yield name, "renamed" if name in OLDER_NAMES else "translated", row.today or "happens anyway"
        elif row.fate == "implemented":
            yield name, "implemented", row.by
        else:
            yield name, "kept", ""


def _request(kept: Mapping[str, Any]) -> str:
    lines = [f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in kept.items()]
    return _HEAD + "\n".join(["arguments:", *lines] if lines else ["arguments: {}"]) + "\n"
