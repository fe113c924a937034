"""The values of expressions in a script, as far as its text gives them: literals, constants, arithmetic, enum members.

What only a run can know (a call, an environment variable, a parameter) has no value here, and the reason with its line.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from embedstep.planning.script import Binding, Script

ENUMS: Mapping[str, Mapping[str, str]] = {
    "BatchSamplers": {},
    "MultiDatasetBatchSamplers": {},
    "IntervalStrategy": {},
    "EvaluationStrategy": {},
    "SaveStrategy": {},
    "SchedulerType": {"REDUCE_ON_PLATEAU": "reduce_lr_on_plateau"},
    "OptimizerNames": {
        "ADAMW_BNB": "adamw_bnb_8bit",
        "LION": "lion_32bit",
        "PAGED_ADAMW": "paged_adamw_32bit",
        "PAGED_ADEMAMIX": "paged_ademamix_32bit",
        "PAGED_LION": "paged_lion_32bit",
        "RMSPROP_8BIT": "rmsprop_bnb_8bit",
        "RMSPROP_32BIT": "rmsprop_bnb_32bit",
    },
    "HubStrategy": {},
    "FSDPOption": {},
    "DebugOption": {},
}
"""Enumerations of the libraries, with the members whose value is not their name in lower case."""
_MOST_CHARACTERS = 10_000
_MOST_EXPONENT = 64
_SIGNS: Mapping[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_OPERATORS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: Mapping[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, whole: item in whole,
    ast.NotIn: lambda item, whole: item not in whole,
    ast.Is: lambda left, right: left is right,
    ast.IsNot: lambda left, right: left is not right,
}
_TEXT_METHODS = {"replace", "split", "rsplit", "strip", "lstrip", "rstrip", "lower", "upper", "removeprefix",
                 "removesuffix"}  # fmt: skip
"""Methods of text without effects, as scripts use them to name a folder after a model."""


class UnreadableError(ValueError):
    """The text of the script does not give a value; the message says why, to follow the name of an argument."""


def computed(node: ast.AST) -> UnreadableError:
    """Return the error of a value that only a run of the script gives."""
    return UnreadableError(f"is computed in line {getattr(node, 'lineno', 1)} of the script; write the value")


def read_value(script: Script, node: ast.AST, known: tuple[ast.AST, ...] = ()) -> Any:
    """Return the value of an expression, as plain data.

    Args:
        script: the script.
        node: the expression.
        known: expressions that are being read, so that `x = x + 1` ends.

    Raises:
        UnreadableError: only a run of the script gives the value.
    """
    if any(node is one for one in known) or len(known) > 50:
        raise computed(node)
    try:
        value = _value(script, node, (*known, node))
    except UnreadableError:
        raise
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError):
        raise computed(node) from None
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        raise computed(node)
    return value


def _value(script: Script, node: ast.AST, known: tuple[ast.AST, ...]) -> Any:
    def read(part: ast.AST) -> Any:
        return read_value(script, part, known)

    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name():
            return _constant(script, node, known)
        case ast.Attribute():
            return _attribute(script, node, known)
        case ast.Call():
            return _call(script, node, read)
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [read(item) for item in items]
        case ast.Dict():
            return _mapping(node, read)
        case ast.JoinedStr(values=parts):
            return "".join(str(read(part)) for part in parts)
        case ast.FormattedValue():
            return _formatted(node, read)
    return _operation(node, read)


def _operation(node: ast.AST, read: Callable[[ast.AST], Any]) -> Any:
    match node:
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
            return _SIGNS[type(sign)](read(operand))
        case ast.BinOp(left=left, op=sign, right=right):
            return _calculate(sign, read(left), read(right))
        case ast.Compare(left=left, ops=[sign], comparators=[right]):
            return _COMPARISONS[type(sign)](read(left), read(right))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return read(body) if read(test) else read(orelse)
        case ast.Subscript(value=whole, slice=index) if not isinstance(index, ast.Slice):
            return read(whole)[read(index)]
    raise computed(node)


def _mapping(node: ast.Dict, read: Callable[[ast.AST], Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        found |= read(value) if key is None else {read(key): read(value)}
    return found


def _calculate(sign: ast.AST, left: Any, right: Any) -> Any:
    """Apply an operator to numbers, join texts or lists; what may become huge has no value here."""
    are_numbers = isinstance(left, int | float) and isinstance(right, int | float)
    are_alike = type(left) is type(right) and isinstance(left, str | list)
    if not (are_numbers or (are_alike and isinstance(sign, ast.Add))):
        raise TypeError
    if isinstance(sign, ast.Pow) and (abs(right) > _MOST_EXPONENT or abs(left) > 10**6):
        raise OverflowError
    value = _OPERATORS[type(sign)](left, right)
    if isinstance(value, complex):
        raise TypeError
    return value


def _formatted(node: ast.FormattedValue, read: Callable[[ast.AST], Any]) -> str:
    value, spec = read(node.value), read(node.format_spec) if node.format_spec else ""
    if len(spec) > 6 or isinstance(value, list | dict):  # a width may have any number of digits
        raise computed(node)
    conversions: Mapping[int, Callable[[Any], Any]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}
    converted = conversions[node.conversion](value) if node.conversion in conversions else value
    return format(converted, spec)


def _constant(script: Script, node: ast.Name, known: tuple[ast.AST, ...]) -> Any:
    found = script.bound(node, node.id)
    if not found:
        raise computed(node)
    return _single(script, found, node.id, known, script.changes(node, node.id))


def _single(script: Script, found: list[Binding], name: str, known: tuple[ast.AST, ...], changes: list[int]) -> Any:
    """Return the value that all bindings of a name give.

    Raises:
        UnreadableError: they give different values, or only a run gives one of them.
    """
    for one in found:
        if one.value is None or isinstance(one.value, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            raise computed(one.node)
    values = [read_value(script, one.value, known) for one in found if one.value is not None]
    if any(type(value) is not type(values[0]) or value != values[0] for value in values):
        lines = " and ".join(str(line) for line in sorted({one.line for one in found}))
        raise UnreadableError(f"is {name}, which lines {lines} of the script assign; write the value")
    if changes and isinstance(values[0], list | dict):
        raise UnreadableError(f"is {name}, which line {changes[0]} of the script changes; write the value")
    return values[0]


def _attribute(script: Script, node: ast.Attribute, known: tuple[ast.AST, ...]) -> Any:
    """Return the value of an enum member, of its `value`, or of a constant in the body of a class."""
    if node.attr == "value" and isinstance(node.value, ast.Attribute) and _is_enum(script, node.value.value):
        return read_value(script, node.value, known)
    owner = class_of(script, node.value)
    if owner is not None and isinstance(node.value, ast.Name | ast.Call):
        changes = script.changes(node.value, node.value.id) if isinstance(node.value, ast.Name) else []
        if changes:
            line = changes[0]
            raise UnreadableError(
                f"is {ast.unparse(node)}, which line {line} of the script may change; write the value"
            )
        return _single(script, script.bindings[owner, node.attr], ast.unparse(node), known, [])
    if _is_enum(script, node.value):
        return ENUMS[script.resolve(node.value)].get(node.attr, node.attr.lower())
    raise computed(node)


def _is_enum(script: Script, node: ast.AST) -> bool:
    return script.resolve(node) in ENUMS and not any(
        isinstance(one.value, ast.ClassDef) for one in script.bound(node, script.resolve(node))
    )


def class_of(script: Script, node: ast.AST) -> ast.ClassDef | None:
    """Return the class of constants that a name means, itself or as an instance that got no values.

    A class with bases or methods of its own may do anything with them, so it is none.
    """
    if isinstance(node, ast.Call) and not node.args and not node.keywords:
        return class_of(script, node.func)
    if not isinstance(node, ast.Name):
        return None
    match script.bound(node, node.id):
        case [Binding(value=ast.ClassDef(bases=[], keywords=[]) as found)]:
            return None if any(isinstance(part, ast.FunctionDef) for part in found.body) else found
        case [Binding(value=ast.Call() as call)]:
            return class_of(script, call)
    return None


def _call(script: Script, node: ast.Call, read: Callable[[ast.AST], Any]) -> Any:
    """Return the result of the few calls whose result the text gives: `dict(...)`, and methods of text."""
    if any(isinstance(one, ast.Starred) for one in node.args):
        raise computed(node)
    match node.func:
        case ast.Name(id="dict") if not node.args and not script.bound(node, "dict"):
            words = [(word.arg, word.value) for word in node.keywords]
            return _mapping(
                ast.Dict(
                    keys=[None if name is None else ast.Constant(name) for name, _ in words],
                    values=[value for _, value in words],
                ),
                read,
            )
        case ast.Name(id="str" | "int" | "float" as name) if not script.bound(node, name) and not node.keywords:
            (given,) = node.args
            return {"str": str, "int": int, "float": float}[name](_scalar(read(given)))
        case ast.Attribute(value=owner, attr=name) if name in _TEXT_METHODS and not node.keywords:
            text = read(owner)
            if isinstance(text, str):
                return getattr(text, name)(*map(read, node.args))
    raise computed(node)


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        raise TypeError
    return value
