"""A request made of older training arguments, with a table of what became of each.

The arguments come from a JSON dump, a YAML file, or the call in a script, which is parsed and never run.
"""

import ast
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embedstep.errors import InvalidRequestError, Problem
from embedstep.planning.rules import check_rules
from embedstep.request.arguments.renames import OLDER_NAMES
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.table import CONTRACT
from embedstep.request.document import parse_document
from embedstep.request.loading import problems_of_arguments
from embedstep.request.scalars import plain
from embedstep.request.schema import TrainRequest

_CLASSES = ("SentenceTransformerTrainingArguments", "TrainingArguments")
_PICKLE = (
    "is a pickle, which may run any code when it is loaded; if you trust it, write "
    "torch.load(path, weights_only=False).to_json_string() to a file, and migrate that"
)
_ENUMS = {
    "BatchSamplers", "MultiDatasetBatchSamplers", "IntervalStrategy", "EvaluationStrategy", "SaveStrategy",
    "SchedulerType", "OptimizerNames", "HubStrategy", "FSDPOption", "DebugOption",
}  # fmt: skip
"""Enumerations of the libraries whose values are the names of their members in lower case."""
_HEAD = """# Fill in the model, the data and the loss; `embedstep check` reports what is missing.
model: MODEL
data:
  train:
    docs: {path: TRAIN.parquet, columns: {anchor: ANCHOR, positive: POSITIVE}}
"""
_EVAL = """  eval:
    docs: {path: EVAL.parquet, columns: {anchor: ANCHOR, positive: POSITIVE}}
"""
_LOSS = "loss: multiple_negatives_ranking\n"


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


def migrate_file(source: str) -> Migrated:
    """Read older arguments from a file and turn them into a request.

    Raises:
        InvalidRequestError: the file cannot be read, is a pickle, or holds no training arguments.
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
    if source.endswith(".py"):
        return migrate(*arguments_in_script(text))
    found = plain(parse_document(text).data)
    if isinstance(found, Mapping) and isinstance(found.get("arguments"), Mapping):
        found = found["arguments"]
    if not isinstance(found, Mapping) or not found.keys() & CONTRACT.keys():
        raise _refused(source, "holds no training arguments")
    return migrate(found)


def _refused(source: str, message: str) -> InvalidRequestError:
    return InvalidRequestError([Problem(source, message)])


def arguments_in_script(text: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return the arguments of the first call of the arguments class, and a problem for each computed value.

    The script is parsed, never run.

    Raises:
        InvalidRequestError: the text is not Python, or has no such call.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise InvalidRequestError([Problem("", f"is no Python: {error}")]) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _CLASSES:
            written = [("output_dir", value) for value in node.args[:1]]
            written += [(word.arg or "**", word.value) for word in node.keywords]
            return _values(written)
    raise InvalidRequestError([Problem("", f"calls no {_CLASSES[0]}")])


def _values(written: Sequence[tuple[str, ast.expr]]) -> tuple[dict[str, Any], list[Problem]]:
    values, problems = {}, []
    for name, node in written:
        try:
            values[name] = _enum_value(node) or ast.literal_eval(node)
        except ValueError:
            problems.append(Problem(f"arguments.{name}", "is computed in the script; write the value"))
    return values, problems


def _enum_value(node: ast.expr) -> str | None:
    """Return `no_duplicates` for `BatchSamplers.NO_DUPLICATES`."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] in _ENUMS:
        return node.attr.lower()
    return None


def migrate(found: Mapping[str, Any], known: Sequence[Problem] = ()) -> Migrated:
    """Turn older arguments into a request.

    Args:
        found: plain values by name, from a dump or written by a person.
        known: problems found before.
    """
    given, problems = dict(found), list(known)
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
    computed = [(problem.path.partition(".")[2], "refused", "computed") for problem in known]
    return Migrated(request=_request(kept), table=(*rows, *computed), problems=tuple(problems))


def _check_arguments(arguments: Arguments) -> list[Problem]:
    """Return the problems of a request with these arguments and every section that they may need."""
    others = parse_document(_sections(arguments)).data
    request = TrainRequest.model_validate({**others, "arguments": arguments})
    return [problem for problem in check_rules(request) if problem.path.startswith("arguments.")]


def _sections(arguments: Arguments) -> str:
    """Return the text of all sections but the arguments."""
    return _HEAD + (_EVAL if arguments.eval_strategy != "no" or arguments.do_eval else "") + _LOSS


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


def _request(kept: Mapping[str, Any]) -> str:
    lines = [f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in kept.items()]
    head = _sections(Arguments.model_validate(kept))
    return head + "\n".join(["arguments:", *lines] if lines else ["arguments: {}"]) + "\n"
