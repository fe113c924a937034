"""Fields of the request as typed parameters of a pipeline's component: the training arguments above all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel

from embedstep.request.arguments.schema import CONTRACT, Arguments
from embedstep.request.arguments.support import types_of

Kind = Literal["integer", "number", "flag", "text", "json", "status"]
"""What a pipeline can type. What may be of several types, a mapping or a list travels as JSON in a text: inside its own
mappings Kubeflow turns 3 into 3.0. A `status` is how the tasks before have ended; Kubeflow fills it in."""
_KINDS: dict[str, Kind] = {"integer": "integer", "number": "number", "true or false": "flag"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """An optional parameter of a component.

    Attributes:
        name: its name, that of the field that it sets.
        kind: type of its value.
        description: what it is for, in a sentence, with its type where that is more than the kind.
        sets: the place in the request that it sets, such as `arguments.seed`; empty where it sets none.
    """

    name: str
    kind: Kind
    description: str
    sets: str = ""


def argument_parameters() -> Iterator[Parameter]:
    """Yield a parameter for each argument of either era, in the order of the table."""
    for one in field_parameters(Arguments, "arguments", tuple(CONTRACT)):
        instead = CONTRACT[one.name].instead
        yield replace(one, description=f"{one.description} Only the default: {instead}.") if instead else one


def field_parameters(section: type[BaseModel], place: str, names: Sequence[str]) -> Iterator[Parameter]:
    """Yield a parameter for each of some fields of a section of the request.

    Args:
        section: the section.
        place: where it stands in the request, such as `promotion`.
        names: names of the fields.
    """
    types = types_of(section)
    for name in names:
        type_ = types[name].removesuffix(" or null")
        is_text = type_ == "text" or (type_.startswith("one of ") and " or " not in type_)
        kind = _KINDS.get(type_, "text" if is_text else "json")
        told = f" ({type_})" if kind == "json" or type_.startswith("one of ") else ""
        description = f"{section.model_fields[name].description}{told}"
        yield Parameter(name=name, kind=kind, description=description, sets=f"{place}.{name}")


_PYTHON = {
    "flag": "bool",
    "false": "bool",
    "integer": "int",
    "number": "float",
    "text": "str",
    "list of texts": "list[str]",
    "mapping": "Mapping[str, Any]",
    "{from_env: NAME}": "Mapping[str, str]",
}
_LONGEST = 80
_HEAD = '''"""The training arguments as keyword arguments, for an editor to complete; made by `make golden`."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from typing_extensions import TypedDict


class Channel(Protocol):
    """A value that is known when the pipeline runs: a parameter of it, or an output of a task (kfp's channel)."""

    channel_type: Any


class ArgumentParameters(TypedDict, total=False):
    """Each training argument of either era; what is left out is the request's."""

'''


def typed_arguments() -> str:
    """Return the source of `orchestration/typed_arguments.py`."""
    types = types_of(Arguments)
    return _HEAD + "".join(f"    {name}: {_annotation(types[name])} | Channel\n" for name in CONTRACT)


def _annotation(type_: str) -> str:
    parts = type_.replace("true or false", "flag").split(" or ")
    return " | ".join(dict.fromkeys(_python(part) for part in parts if part != "null"))


def _python(part: str) -> str:
    if not part.startswith("one of "):
        return _PYTHON[part]
    choices = ", ".join(f'"{choice}"' for choice in part.removeprefix("one of ").split(", "))
    return f"Literal[{choices}]" if len(choices) < _LONGEST else "str"
