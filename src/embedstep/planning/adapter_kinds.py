"""The types of adapters, and their options as the installed PEFT has them, read from its source: it imports torch."""

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Optional, Union

from pydantic import ConfigDict, TypeAdapter, ValidationError

from embedstep.errors import Problem, suggest
from embedstep.request.scalars import Boolean, Integer, Number, Text

OWN_OPTIONS = ("peft_type", "merge")
"""Options that PEFT's configurations do not have, or that choose one of them."""
ADAPTER_TYPES = (
    "LORA", "ADAMSS", "BEFT", "BOFT", "C3A", "DEFT", "DELORA", "FOURIERFT", "GLORA", "GRALORA", "HIRA", "HRA", "IA3",
    "LILY", "LN_TUNING", "LOHA", "LOKR", "MISS", "OFT", "OSF", "PEANUT", "PSOFT", "RANDLORA", "ROAD", "SHIRA",
    "SUPERTUNING", "TRAINABLE_TOKENS", "WAVEFT",
)  # fmt: skip
"""Types that sentence-transformers' `add_adapter` takes and that an ordinary training loop trains."""
CANNOT_MERGE = frozenset({"LILY"})
_TOKENS = "puts trained tokens before each text, which sentence-transformers' add_adapter does not take"
_SHARED = "shares state between layers, which sentence-transformers' add_adapter does not take"
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ("CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"), _TOKENS
    ),
    **dict.fromkeys(("FROD", "PVERA", "TINYLORA", "UNILORA", "VBLORA", "VERA"), _SHARED),
    "ADALORA": "has its ranks moved by a call after each step, which the trainer does not make; write LORA",
    "ADAPTION_PROMPT": "is for models that generate text",
    "POLY": "needs the number of a task with each text",
    "SHADOW": "is for models that generate text",
    "XLORA": "mixes adapters that were trained before",
}
_FIXED: Mapping[str, Any] = {"inference_mode": False, "task_type": "FEATURE_EXTRACTION"}
"""Options of every type that scripts pass, with the only value that makes sense in a training."""
_UNUSABLE: Mapping[str, str] = {
    "alora_invocation_tokens": "is for models that generate text",
    "layer_replication": "makes a model of other layers, into which the adapter cannot be merged",
    "megatron_config": "is for Megatron",
    "megatron_core": "is for Megatron",
}
_PREPARED = frozenset({"corda", "eva", "loftq"})
"""Initial weights that PEFT makes from data, or from a quantized copy, before the training."""
CHANGES_BASE = frozenset({"olora", "pissa"})
"""Initial weights for which PEFT changes those of the base, too."""
_DEFAULT_TARGETS = "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING"
_BASE = "PeftConfig"
_SHARED_BASES: Mapping[str, str] = {"LycorisConfig": "tuners/lycoris_utils.py"}
_NAMES: Mapping[str, Any] = {
    "Optional": Optional,
    "Union": Union,
    "Literal": Literal,
    "None": None,
    "bool": Boolean,
    "int": Integer,
    "float": Number,
    "str": Text,
    "list": list,
    "tuple": tuple,
    "dict": dict,
}
"""What the types of options are made of: as in a request, where `"16"` and `16.0` are the integer 16."""


def check_kind(given: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems of an adapter's type and options, of the latter only where PEFT is installed.

    Args:
        given: the section `model.peft`.
    """
    kind = given.get("peft_type")
    known = f"known are {', '.join(ADAPTER_TYPES)}"
    if kind is None:
        yield Problem("model.peft.peft_type", f"is missing; {known}")
    elif kind in _REFUSED:
        yield Problem("model.peft.peft_type", f"{kind} {_REFUSED[kind]}")
    elif kind not in ADAPTER_TYPES:
        yield Problem(
            "model.peft.peft_type", f"{kind!r} is not a type of adapter; {known}{suggest(str(kind), ADAPTER_TYPES)}"
        )
    merge = given.get("merge", True)
    if not isinstance(merge, bool):
        yield Problem("model.peft.merge", f"must be true or false, not {merge!r}")
    elif merge and kind in CANNOT_MERGE:
        yield Problem("model.peft.merge", f"{kind} cannot be merged; write false, which publishes the adapter alone")
    for name, value in _FIXED.items():
        if given.get(name, value) not in (value, None):
            yield Problem(f"model.peft.{name}", f"must be {value}, not {given[name]!r}")
    if kind in ADAPTER_TYPES and (options := installed_options(kind)) is not None:
        yield from _options_are_known(kind, options, given)


def _options_are_known(kind: str, options: Mapping[str, str], given: Mapping[str, Any]) -> Iterator[Problem]:
    usable = [name for name in options if name not in _UNUSABLE and not _own_classes(options[name])]
    for name, value in given.items():
        path = f"model.peft.{name}"
        if name in OWN_OPTIONS or name in _FIXED:
            continue
        if name not in options:
            message = f"is not an option of {kind} in PEFT; it has {', '.join(usable)}{suggest(name, usable)}"
            yield Problem(path, message)
        elif name not in usable:
            yield Problem(path, _UNUSABLE.get(name, "takes an object of PEFT's own, which a request cannot say"))
        elif name == "init_lora_weights" and value in _PREPARED:
            yield Problem(path, f"is {value}, which needs a preparation before the training; remove it")
        elif not _is_valid(options[name], value):
            yield Problem(path, f"must be {options[name]}, not {value!r}")


def _is_valid(annotation: str, value: Any) -> bool:
    try:
        _option_value(annotation, value)
    except ValidationError:
        return False
    return True


def adapter_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of PEFT's configuration for a checked section, with numbers as their types say."""
    options = installed_options(given["peft_type"]) or {}
    named = {name: value for name, value in given.items() if name not in (*OWN_OPTIONS, *_FIXED)}
    return {name: _option_value(options[name], value) if name in options else value for name, value in named.items()}


def _option_value(annotation: str, value: Any) -> Any:
    return _type(annotation).validate_python(value)


@lru_cache(maxsize=256)
def _type(annotation: str) -> TypeAdapter[Any]:
    """Return the type that an annotation names; a class of PEFT's own in it stands for anything."""
    found = eval(annotation, {}, {**dict.fromkeys(_own_classes(annotation), Any), **_NAMES})
    return TypeAdapter(found, config=None if found is Any else ConfigDict(strict=True))


def _own_classes(annotation: str) -> set[str]:
    """Return the names of PEFT's own classes in an annotation."""
    names = {node.id for node in ast.walk(ast.parse(annotation)) if isinstance(node, ast.Name)}
    return names - _NAMES.keys()


@lru_cache(maxsize=8)
def installed_options(kind: str) -> Mapping[str, str] | None:
    """Return the options of a type with their annotations; None where PEFT is not installed.

    Args:
        kind: the type, such as `LORA`.
    """
    package = _package()
    if package is None:
        return None
    found: dict[str, str] = {}
    for config in _classes(package / "tuners" / kind.lower() / "config.py"):
        for base in (base.id for base in config.bases if isinstance(base, ast.Name)):
            if base in _SHARED_BASES:
                found |= _fields(next(each for each in _classes(package / _SHARED_BASES[base]) if each.name == base))
            if base in (_BASE, *_SHARED_BASES):
                found |= _fields(config)
    return found


def default_targets(model_type: str) -> list[str] | str | None:
    """Return the modules that LoRA adapts in a kind of model where none are named; None for a kind without.

    Args:
        model_type: `model_type` of the transformer's configuration, such as `bert`.
    """
    package = _package()
    for node in ast.walk(_parsed(package / "utils" / "constants.py")) if package else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == _DEFAULT_TARGETS:
            targets: list[str] | str | None = ast.literal_eval(node.value).get(model_type)
            return targets
    return None


def _package() -> Path | None:
    spec = find_spec("peft")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _classes(file: Path) -> list[ast.ClassDef]:
    return [node for node in _parsed(file).body if isinstance(node, ast.ClassDef)]


def _fields(config: ast.ClassDef) -> dict[str, str]:
    """Return the fields of a dataclass that its constructor takes, with their annotations."""
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in config.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and not (node.value is not None and "init=False" in ast.unparse(node.value))
    }
