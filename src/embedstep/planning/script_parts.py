"""The model and the loss of a script, as far as its text gives them, in the form of a request."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from embedstep.errors import Problem
from embedstep.planning.losses import LOSSES, LossKind
from embedstep.planning.placeholders import LOSS, MODEL, VALUE
from embedstep.planning.script import Binding, Script
from embedstep.planning.script_objects import TRAINER_PARAMETERS, place_of, trainer_value
from embedstep.planning.script_values import UnreadableError, read_value
from embedstep.request.options import Option
from embedstep.runtime.secrets import SECRET_NAME, holds_secret

_MODEL_CLASS = "SentenceTransformer"
_MODEL_FIELDS = {
    "revision": "revision",
    "trust_remote_code": "trust_remote_code",
    "prompts": "prompts",
    "default_prompt_name": "default_prompt_name",
    "similarity_fn_name": "similarity_fn_name",
    "truncate_dim": "truncate_dim",
    "model_kwargs": "model_kwargs",
    "processor_kwargs": "processor_kwargs",
    "tokenizer_kwargs": "processor_kwargs",
    "config_kwargs": "config_kwargs",
    "max_seq_length": "max_seq_length",
}
"""Parameters and attributes of a model that a request has, and their names there."""
_OF_THE_MODEL = {"model", "embedding_dimension", "sentence_embedding_dimension", "show_progress_bar"}
"""Parameters of losses that need nothing in a request."""
_TRAINER = "SentenceTransformerTrainer"
_DEFAULT_LOSS = "cosent"
"""The loss of that trainer if it gets none: CoSENTLoss."""
_READ_ELSEWHERE = {*TRAINER_PARAMETERS, "tokenizer", "processing_class"}
_SECTIONS = {"evaluator": "evaluators", "callbacks": "early_stopping"}
"""Parameters of a trainer for which a request has a section."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_CLASSES = {kind.class_name: kind for kind in LOSSES.values()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Sections of a request.

    Attributes:
        model: the section model, or its placeholder.
        loss: the section loss, or its placeholder.
        datasets: names of the datasets.
        rows: for the table of a migration: the section, what becomes of it, and why.
        problems: what the script says and is not carried over.
    """

    model: Any = MODEL
    loss: Any = LOSS
    datasets: tuple[str, ...] = ("docs",)
    rows: tuple[tuple[str, str, str], ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    value: Any
    row: tuple[str, str, str]
    problems: Sequence[Problem] = ()


def read_parts(script: Script, trainers: Sequence[ast.Call]) -> Parts:
    """Return the model and the loss of the first of the trainers; without one, the only ones in the script.

    Args:
        script: the script.
        trainers: the trainers that get the arguments, in the order of the text.
    """
    trainer = trainers[0] if trainers else None
    model = _read_model(script, trainer)
    loss = _read_loss(script, trainer)
    datasets = tuple(loss.value) if isinstance(loss.value, dict) and "kind" not in loss.value else ("docs",)
    return Parts(
        model=model.value,
        loss=loss.value,
        datasets=datasets,
        rows=(model.row, loss.row, *_other_rows(trainer)),
        problems=(*model.problems, *loss.problems),
    )


def _other_rows(trainer: ast.Call | None) -> Iterator[tuple[str, str, str]]:
    """Yield what else a trainer gets; the data of a request is filled in by hand."""
    for word in trainer.keywords if trainer is not None else ():
        if word.arg not in _READ_ELSEWHERE:
            section = _SECTIONS.get(word.arg or "")
            hint = f"; see the section {section}" if section else ""
            yield f"trainer.{word.arg or '**'}", "left out", f"line {word.value.lineno}{hint}"


def _origin(script: Script, node: ast.AST | None) -> ast.AST | None:
    """Return the expression that a variable was assigned, if it is the only one."""
    for _ in range(10):
        if not isinstance(node, ast.Name):
            break
        match script.bound(node, node.id):
            case [Binding(value=ast.AST() as value)]:
                node = value
            case _:
                return None
    return node


def _only_call(script: Script, names: set[str]) -> ast.Call | None:
    """Return the only call of some classes that is not inside another such call."""
    calls = [call for call in script.calls() if script.resolve(call.func) in names]
    inner: set[ast.AST | None] = {node for call in calls for node in ast.walk(call) if node is not call}
    inner |= {_origin(script, node) for call in calls for node in ast.walk(call) if isinstance(node, ast.Name)}
    outer = [call for call in calls if call not in inner]
    return outer[0] if len(outer) == 1 else None


def _read_model(script: Script, trainer: ast.Call | None) -> _Part:
    given = trainer_value(trainer, "model") if trainer is not None else None
    call = _origin(script, given) if trainer is not None else _only_call(script, {_MODEL_CLASS})
    if call is None or not isinstance(call, ast.Call) or script.resolve(call.func) != _MODEL_CLASS:
        where = (
            f"line {given.lineno} does not name it" if isinstance(given, ast.expr) else "the script names no one model"
        )
        return _Part(MODEL, ("model", "open", where))
    source = _model_source(script, call)
    if source is None:
        return _Part(MODEL, ("model", "open", f"is computed in line {call.lineno}"))
    fields, problems, left = _model_fields(script, call, given)
    why = f"without {', '.join(left)}" if left else ""
    return _Part({"path": source, **fields} if fields else source, ("model", "kept", why), problems)


def _model_source(script: Script, call: ast.Call) -> str | None:
    named = next((word.value for word in call.keywords if word.arg == "model_name_or_path"), None)
    first = call.args[0] if call.args else named
    if first is None or any(word.arg == "modules" for word in call.keywords):
        return None
    try:
        source = read_value(script, first)
    except UnreadableError:
        return None
    return source if isinstance(source, str) and source and not holds_secret(source) else None


def _model_fields(
    script: Script, call: ast.Call, given: ast.AST | None
) -> tuple[dict[str, Any], list[Problem], list[str]]:
    """Return the fields of a model besides its path, what could not be read, and what a request has not."""
    written: list[tuple[str, ast.AST]] = [
        (word.arg or "**", word.value) for word in call.keywords if word.arg != "model_name_or_path"
    ]
    written += [(f"argument {index + 2}", value) for index, value in enumerate(call.args[1:])]
    written += list(_attributes(script, call, given))
    fields: dict[str, Any] = {}
    problems, left = [], []
    for name, node in written:
        if name not in _MODEL_FIELDS:
            left.append(name)
            continue
        try:
            fields[_MODEL_FIELDS[name]] = _without_secrets(read_value(script, node), node)
        except UnreadableError as error:
            fields[_MODEL_FIELDS[name]] = VALUE
            problems.append(Problem(f"model.{_MODEL_FIELDS[name]}", str(error)))
    return {name: value for name, value in fields.items() if value is not None}, problems, left


def _without_secrets(value: Any, node: ast.AST) -> Any:
    """Return a value that may stand in a request.

    Raises:
        UnreadableError: it holds a token or password.
    """
    texts = [one for one in ast.walk(ast.parse(repr(value), mode="eval")) if isinstance(one, ast.Constant)]
    keys = [*value] if isinstance(value, dict) else []
    if any(SECRET_NAME.search(str(key)) for key in keys) or any(holds_secret(str(one.value)) for one in texts):
        line = getattr(node, "lineno", 1)
        raise UnreadableError(f"in line {line} of the script holds a token or password, which a request must not")
    return value


def _attributes(script: Script, call: ast.Call, given: ast.AST | None) -> Iterator[tuple[str, ast.AST]]:
    """Yield the attributes that are set on the variable of the model, such as `max_seq_length`, with their values.

    Where the assignment may not run, it is yielded itself, which has no value.
    """
    if not isinstance(given, ast.Name):
        return
    place = place_of(script, given)
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and place_of(script, target.value) == place:
                    is_sure = script.conditions(node) <= script.conditions(call)
                    yield target.attr, node.value if is_sure else node


def _read_loss(script: Script, trainer: ast.Call | None) -> _Part:
    given = trainer_value(trainer, "loss") if trainer is not None else None
    if trainer is not None and given is None and _has_default_loss(script, trainer):
        return _Part(_DEFAULT_LOSS, ("loss", "kept", f"the default of the trainer in line {trainer.lineno}"))
    node = _origin(script, given) if trainer is not None else _only_call(script, set(_CLASSES))
    if isinstance(node, ast.Dict):
        return _read_losses(script, node)
    problems: list[Problem] = []
    loss = _loss(script, node, "loss", problems)
    if loss is None:
        line = getattr(given, "lineno", 0)
        return _Part(
            LOSS, ("loss", "open", f"line {line} does not name it" if line else "the script names no one loss")
        )
    return _Part(loss, ("loss", "kept", ""), problems)


def _has_default_loss(script: Script, trainer: ast.Call) -> bool:
    """Whether a trainer that gets no loss uses that of the library; a class of its own may compute another one."""
    names = {word.arg for word in trainer.keywords}
    return script.resolve(trainer.func) == _TRAINER and not names & {None, "compute_loss", "compute_loss_func"}


def _read_losses(script: Script, node: ast.Dict) -> _Part:
    """Return a loss for each dataset."""
    problems: list[Problem] = []
    losses: dict[str, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
        if not _NAME.fullmatch(name) or name == "kind":
            return _Part(LOSS, ("loss", "open", f"line {node.lineno} has no names of datasets"))
        losses[name] = _loss(script, _origin(script, value), f"loss.{name}", problems) or LOSS
    return _Part(losses or LOSS, ("loss", "kept" if losses else "open", "one for each dataset"), problems)


def _loss(script: Script, node: ast.AST | None, path: str, problems: list[Problem]) -> Any:
    """Return a loss in the form of a request, None if it is none of the library's; options that are lost are added.

    Args:
        script: the script.
        node: the expression.
        path: path of the loss in the request.
        problems: where the options that cannot be carried over are added.
    """
    if not isinstance(node, ast.Call) or (kind := _CLASSES.get(script.resolve(node.func))) is None:
        return None
    inner: Any = None
    options: dict[str, Any] = {}
    for name, value in _loss_parameters(kind, node):
        if name == "loss" and kind.wraps:
            inner = _loss(script, _origin(script, value), f"{path}.loss", problems) or LOSS
        elif name not in _OF_THE_MODEL:
            if name not in kind.options:
                problems.append(_no_option(path, name, value))
                continue
            try:
                options[name] = _option(script, kind.options[name], name, value)
            except UnreadableError as error:
                options[name] = VALUE
                problems.append(Problem(f"{path}.options.{name}", str(error)))
    # Null is a value of its own where the default is another one.
    options = {
        name: value for name, value in options.items() if value is not None or kind.options[name].default is not None
    }
    written = {"options": options} if options else {}
    if kind.wraps:
        return {"kind": kind.name, **written, "loss": inner or LOSS}
    return {"kind": kind.name, **written} if options else kind.name


def _no_option(path: str, name: str, node: ast.expr) -> Problem:
    if not name:
        return Problem(f"{path}.options", f"line {node.lineno} has a value without a name; write its name")
    message = f"in line {node.lineno} is not carried over; a request has no such option"
    return Problem(f"{path}.options.{name}", message)


def _loss_parameters(kind: LossKind, node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """Yield the arguments of a loss by name: positions are the model, an inner loss, and the first option."""
    is_softmax = kind.classes is not None
    names = ["model", *(["loss"] if kind.wraps else []), *(["embedding_dimension"] if is_softmax else [])]
    names += list(kind.options)[:1]
    for index, value in enumerate(node.args):
        yield (names[index] if index < len(names) else "", value)
    yield from ((word.arg or "**", word.value) for word in node.keywords)


def _option(script: Script, option: Option, name: str, node: ast.AST) -> Any:
    """Return the value of an option; a function of the library is its name, a guide the source of its model."""
    if name == "guide":
        guide = _origin(script, node)
        if isinstance(guide, ast.Call) and script.resolve(guide.func) == _MODEL_CLASS:
            source = _model_source(script, guide)
            if source is not None:
                return source
    if option.choices and isinstance(node, ast.Attribute | ast.Name):
        last = script.resolve(node).lower()
        if found := [one for one in option.choices if one.lower() == last]:
            return found[0]
    return read_value(script, node)
