"""Fields of the request as typed component parameters, the training arguments above all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel

from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.support import types_of
from embedstep.request.arguments.table import CONTRACT

Kind = Literal["integer", "number", "boolean", "text", "json", "status"]
"""Types that a pipeline knows. A union, a mapping or a list is passed as JSON text, because Kubeflow turns 3 into 3.0
inside its own mappings. Kubeflow fills in a `status`: how the earlier tasks ended."""
_KINDS: dict[str, Kind] = {"integer": "integer", "number": "number", "true or false": "boolean"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """An optional parameter of a component.

    Attributes:
        name: name of the parameter, and of the field that it sets.
        description: what it does, in one sentence, with the exact type if `kind` does not say it.
        kind: type of its value.
        sets: path in the request that it sets, such as `arguments.seed`; empty if none.
    """

    name: str
    description: str
    kind: Kind = "text"
    sets: str = ""


def argument_parameters() -> Iterator[Parameter]:
    """Yield a parameter for each training argument, old and new, in the order of the table."""
    for one in field_parameters(Arguments, "arguments", tuple(CONTRACT)):
        instead = CONTRACT[one.name].instead
        yield (
            replace(one, description=f"{one.description} Only the default is accepted: {instead}.") if instead else one
        )


def field_parameters(section: type[BaseModel], place: str, names: Sequence[str]) -> Iterator[Parameter]:
    """Yield a parameter for each of some fields of a section of the request.

    Args:
        section: model of the section.
        place: path of the section in the request, such as `promotion`.
        names: names of the fields.
    """
    types = types_of(section)
    for name in names:
        type_ = types[name].removesuffix(" or null")
        is_text = all(part == "text" or part.startswith("one of ") for part in type_.split(" or "))
        kind = _KINDS.get(type_, "text" if is_text else "json")
        exact_type = f" ({type_})" if kind == "json" or type_.startswith("one of ") else ""
        description = f"{section.model_fields[name].description}{exact_type}"
        yield Parameter(name=name, kind=kind, description=description, sets=f"{place}.{name}")
