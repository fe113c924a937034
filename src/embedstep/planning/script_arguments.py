"""The training arguments in a script: the call that makes them, and every later statement that changes them."""

import ast
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedstep.errors import InvalidRequestError, Problem
from embedstep.planning.script import Script, position
from embedstep.planning.script_objects import Uses, find_uses, is_trainer
from embedstep.planning.script_values import UnreadableError, read_value
from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.arguments.renames import other_names
from embedstep.request.arguments.training_arguments import TrainingArguments

CLASSES = ("SentenceTransformerTrainingArguments", "TrainingArguments")
_SEARCH = "hyperparameter_search"


@dataclass(frozen=True, slots=True)
class Change:
    """A statement that changes the arguments.

    Attributes:
        node: the call or assignment.
        name: the argument that it changes, or the setter that it calls.
        value: expression of the new value; None if it is no plain assignment.
        doubt: why it is not certain that the change counts; empty if it is.
    """

    node: ast.AST
    name: str
    value: ast.AST | None = None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class ScriptArguments:
    """What a script sets.

    Attributes:
        uses: the call, and where its object is used.
        values: the readable arguments by name.
        problems: what is not carried over, each with its line.
    """

    uses: Uses
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_arguments(script: Script, line: int | None = None) -> ScriptArguments:
    """Return the arguments of a script as they are when its training starts.

    Args:
        script: the script.
        line: a line of the call to read, where the script has several.

    Raises:
        InvalidRequestError: there is no call of the arguments class, or it is not clear which one is meant.
    """
    uses = find_uses(script, _choose_call(script, line))
    values, problems = _from_call(script, uses.call)
    for change in _changes(script, uses):
        problems += _apply(script, change, values)
    problems += _open_values(values)
    problems += _further_problems(script, uses)
    problems += _other_trainings(script, uses, is_chosen=line is not None)
    readable = {name: value for name, value in values.items() if not isinstance(value, UnreadableError)}
    return ScriptArguments(uses, readable, problems)


def _choose_call(script: Script, line: int | None) -> ast.Call:
    calls = [call for call in script.calls() if script.resolve(call.func) in CLASSES]
    if not calls:
        raise InvalidRequestError.at("", f"calls no {CLASSES[0]}")
    chosen = [call for call in calls if line is None or call.lineno <= line <= (call.end_lineno or call.lineno)]
    if len(chosen) == 1:
        return chosen[0]
    lines = " and ".join(str(call.lineno) for call in calls)
    if line is not None and not chosen:
        raise InvalidRequestError.at("", f"has no call of {CLASSES[0]} in line {line}, but in {lines}")
    raise InvalidRequestError.at(
        "",
        f"calls {CLASSES[0]} in lines {lines}, and a request is one training; choose one with --line, such as "
        f"--line {calls[0].lineno}, and write a request for each",
    )


def _from_call(script: Script, call: ast.Call) -> tuple[dict[str, Any], list[Problem]]:
    values: dict[str, Any] = {}
    problems = []
    for node in call.args[:1]:
        _set(values, "output_dir", _read(script, node))
    for node in call.args[1:]:
        problems.append(Problem("arguments", f"line {node.lineno} has a value without a name; write its name"))
    for word in call.keywords:
        value = _read(script, word.value)
        if word.arg is not None:
            _set(values, word.arg, value)
        elif isinstance(value, dict):
            values.update(value)
        else:
            reason = value if isinstance(value, UnreadableError) else "is no mapping"
            problems.append(Problem("arguments.**", str(reason)))
    return values, problems


def _read(script: Script, node: ast.AST) -> Any:
    """Return a value, or the error that says why there is none."""
    try:
        return read_value(script, node)
    except UnreadableError as error:
        return error


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    """Set an argument, and unset other names for the same thing; the per_gpu names stay, since they always win."""
    for other in other_names(name):
        if not other.startswith("per_gpu_"):
            values.pop(other, None)
    values[name] = value


def _apply(script: Script, change: Change, values: dict[str, Any]) -> list[Problem]:
    """Apply a change to the values so far, and return what is not carried over."""
    if change.name in _SETTERS:
        return _apply_setter(script, change, values)
    line = position(change.node)[0]
    if change.name.startswith(("_", "set")):
        return [Problem("arguments", f"line {line}: {change.name} is not carried over; write what it changes")]
    if change.doubt or change.value is None:
        doubt = change.doubt or f"is changed in line {line} of the script"
        _set(values, change.name, UnreadableError(f"{doubt}; write the value"))
    else:
        _set(values, change.name, _read(script, change.value))
    return []


_SETTERS: dict[str, Callable[..., Any]] = {
    name: setter for name, setter in inspect.getmembers(TrainingArguments, callable) if name.startswith("set_")
}


def _apply_setter(script: Script, change: Change, values: dict[str, Any]) -> list[Problem]:
    """Call the setter of our own class, so that its defaults and names are written once."""
    line = position(change.node)[0]
    path = "arguments"
    if change.doubt or not isinstance(change.node, ast.Call):
        return [Problem(path, f"{change.name} {change.doubt or 'is not called'}; write the arguments that it sets")]
    positional = [_read(script, node) for node in change.node.args]
    named = {word.arg or "**": _read(script, word.value) for word in change.node.keywords}
    if errors := [one for one in (*positional, *named.values()) if isinstance(one, UnreadableError)]:
        reason = str(errors[0]).partition(";")[0]
        message = f"{change.name} in line {line} has a value that {reason}; write the arguments that it sets"
        return [Problem(path, message)]
    try:
        changed = _SETTERS[change.name](TrainingArguments(), *positional, **named)
    except TypeError as error:
        return [Problem(path, f"line {line}: {error}")]
    except InvalidRequestError as error:
        return [Problem(one.path, f"{one.message} (line {line} of the script)") for one in error.problems]
    for name, value in to_lossless(changed).items():
        _set(values, name, value)
    return []


def _open_values(values: dict[str, Any]) -> Iterator[Problem]:
    for name, value in values.items():
        if isinstance(value, UnreadableError):
            yield Problem(f"arguments.{name}", str(value))


def _changes(script: Script, uses: Uses) -> Sequence[Change]:
    """Return every change of the arguments, in the order in which they run."""
    found = []
    for node, hops in uses.nodes:
        if (change := _change_at(script, node)) is not None:
            name, place, value = change
            if (doubt := _doubt(script, uses, node, place)) is not None:
                found.append((hops, position(place), Change(place, name, value, doubt)))
    found.sort(key=lambda one: one[:2])
    return [change for _, _, change in found]


def _change_at(script: Script, node: ast.AST) -> tuple[str, ast.AST, ast.AST | None] | None:
    """Return what a use of the arguments changes: the name, the node and the new value; None for mere reading."""
    parent = script.parents[node]
    if isinstance(parent, ast.Call) and node in parent.args:
        match parent:
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=str(name)), value]):
                return name, parent, value
            case ast.Call(func=ast.Name(id="setattr")):
                return "setattr", parent, None
        return None
    if not isinstance(parent, ast.Attribute):
        return None
    around = script.parents[parent]
    if not isinstance(parent.ctx, ast.Load):
        is_plain = isinstance(around, ast.Assign | ast.AnnAssign) and parent is not getattr(around, "value", None)
        return parent.attr, parent, around.value if is_plain else None  # type: ignore[attr-defined]
    if parent.attr.startswith("set_") and isinstance(around, ast.Call) and around.func is parent:
        return parent.attr, around, None
    changes_item = isinstance(around, ast.Subscript) and not isinstance(around.ctx, ast.Load)
    changes_list = isinstance(around, ast.Attribute) and around.attr in ("append", "update", "extend", "clear", "pop")
    if parent.attr == "__dict__" or changes_item or changes_list:
        return parent.attr, parent, None
    return None


def _doubt(script: Script, uses: Uses, node: ast.AST, place: ast.AST) -> str | None:
    """Return why a change may not count, "" if it surely counts, and None if it surely does not: it is before."""
    line, origin = position(place)[0], uses.origin_of(node)
    has_same_scope = script.scope_of(place) is script.scope_of(origin)
    if has_same_scope and position(place) < position(origin):
        return None
    if not has_same_scope:
        return f"is changed in line {line} of the script, in another function"
    if not script.conditions(place) <= script.conditions(origin):
        return f"is changed in line {line} of the script, under a condition or in a loop"
    if uses.is_shared:
        return f"is changed in line {line} of the script, for one of several trainings"
    trained = [call for call in uses.training_calls if script.scope_of(call) is script.scope_of(place)]
    if any(position(call) < position(place) for call in trained):
        return f"is changed in line {line} of the script, after the training"
    return ""


def _further_problems(script: Script, uses: Uses) -> Iterator[Problem]:
    """Yield what else acts on the arguments and is not carried over."""
    for call in script.calls():
        if isinstance(call.func, ast.Attribute) and call.func.attr == _SEARCH:
            message = f"line {call.lineno} searches hyper-parameters; the search is not carried over"
            yield Problem("arguments", f"{message}; write the values that it found")
    for binding in uses.replaced:
        message = f"line {binding.line} assigns the arguments again; what that changes is not carried over"
        yield Problem("arguments", f"{message}; write it")
    for node, _ in uses.nodes:
        parent = script.parents[node]
        owner = script.parents[parent] if isinstance(parent, ast.keyword) else parent
        if isinstance(owner, ast.Call) and not is_trainer(script, owner) and _may_change(script, owner, node):
            message = f"line {owner.lineno} passes the arguments to {ast.unparse(owner.func)}, which may change them"
            yield Problem("arguments", f"{message}; write what it changes")


def _other_trainings(script: Script, uses: Uses, *, is_chosen: bool) -> Iterator[Problem]:
    """Yield the trainings of a script besides the first with these arguments.

    Args:
        script: the script.
        uses: the arguments and where they are used.
        is_chosen: whether the call was chosen by its line, so that trainings with other arguments are known.
    """
    if any(isinstance(node, ast.For | ast.AsyncFor | ast.While) for node, _ in script.conditions(uses.call)):
        message = f"line {uses.call.lineno} is in a loop, and a request is one training"
        yield Problem("arguments", f"{message}; write a request for each")
    if len(uses.trainers) > 1:
        lines = " and ".join(str(call.lineno) for call in uses.trainers)
        message = f"lines {lines} train with the same arguments, and a request is one training"
        yield Problem("arguments", f"{message}; this is the first, write a request for each")
    for call in script.calls():
        if not is_chosen and is_trainer(script, call) and call not in uses.trainers:
            message = f"line {call.lineno} makes a trainer that does not get the arguments of line {uses.call.lineno}"
            yield Problem("arguments", f"{message}; it is not carried over")


def _may_change(script: Script, call: ast.Call, node: ast.AST) -> bool:
    """Whether a call gets the arguments and may change them: `replace`, or a function of the script that does."""
    if call.func is node:
        return False
    if script.resolve(call.func) == "replace":
        return True
    if not isinstance(call.func, ast.Name):
        return False
    for binding in script.bound(call, call.func.id):
        if isinstance(binding.value, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [one.arg for one in (*binding.value.args.posonlyargs, *binding.value.args.args)]
            given = [word.arg for word in call.keywords if word.value is node]
            given += [names[index] for index, one in enumerate(call.args) if one is node and index < len(names)]
            return any(_is_changed(script, binding.value, name) for name in given if name)
    return False


def _is_changed(script: Script, function: ast.AST, name: str) -> bool:
    setters = (
        one
        for one in ast.walk(function)
        if isinstance(one, ast.Attribute) and one.attr.startswith("set_") and ast.unparse(one.value) == name
    )
    return bool(script.changed.get((function, name))) or any(setters)
