"""Python files that `make golden` writes, so that editors complete what the tables of the package define."""

from collections.abc import Iterator
from textwrap import wrap

from embedstep.orchestration.components import COMPONENTS, REQUEST, Artifact, Component
from embedstep.orchestration.parameters import Parameter
from embedstep.request.arguments.schema import Arguments
from embedstep.request.arguments.support import types_of
from embedstep.request.arguments.table import CONTRACT

_PYTHON = {
    "boolean": "bool",
    "false": "bool",
    "integer": "int",
    "number": "float",
    "text": "str",
    "list of texts": "list[str]",
    "mapping": "Mapping[str, Any]",
    "{from_env: NAME}": "Mapping[str, str]",
}
_LONGEST = 80
_HEAD = '''"""The training arguments as keyword arguments, for completion in editors. Written by `make golden`."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from typing_extensions import TypedDict


class Channel(Protocol):
    """A value known only when the pipeline runs: a pipeline parameter or the output of a task (kfp's channel)."""

    channel_type: Any


class ArgumentParameters(TypedDict, total=False):
    """Every training argument, old and new. Those left out keep the value in the request."""

'''


def typed_arguments() -> str:
    """Return the source of `orchestration/typed_arguments.py`."""
    types = types_of(Arguments)
    return _HEAD + "".join(f"    {name}: {_annotation(types[name])} | Channel\n" for name in CONTRACT)


def _annotation(type_: str) -> str:
    parts = type_.replace("true or false", "boolean").split(" or ")
    return " | ".join(dict.fromkeys(_python(part) for part in parts if part != "null"))


def _python(part: str) -> str:
    if not part.startswith("one of "):
        return _PYTHON[part]
    choices = ", ".join(f'"{choice}"' for choice in part.removeprefix("one of ").split(", "))
    return f"Literal[{choices}]" if len(choices) < _LONGEST else "str"


_FUNCTIONS_HEAD = '''\
"""The components as functions for pipeline authors. Written by `make golden` from `orchestration/components.py`."""

from typing import Any

from kfp import dsl
from typing_extensions import Unpack

from embedstep.orchestration.kfp.components import IMAGE, create_task
from embedstep.orchestration.typed_arguments import ArgumentParameters

# Each function passes its parameters on by `locals()`, so that it need not list them again.
__all__ = ['''
_WIDTH = 120


def component_functions() -> str:
    """Return the source of `orchestration/kfp/functions.py`: one function for each component."""
    names = ", ".join(f'"{name}"' for name in sorted(COMPONENTS))
    return f"{_FUNCTIONS_HEAD}{names}]\n" + "".join(
        "\n\n" + "\n".join(_function(one)) + "\n" for one in COMPONENTS.values()
    )


def _function(component: Component) -> Iterator[str]:
    given: list[Artifact | Parameter] = [
        *sorted(component.inputs, key=lambda artifact: not artifact.is_required),
        # Kubeflow fills in a status, and the training arguments have types of their own.
        *(one for one in component.parameters if one.kind != "status" and not _is_argument(one)),
    ]
    has_arguments = any(map(_is_argument, component.parameters))
    parameters = ["request: Any", "*"]
    for one in given:
        is_required = isinstance(one, Artifact) and one.is_required
        parameters.append(f"{one.name}: Any{'' if is_required else ' = None'}")
    parameters.append("image: str = IMAGE")
    if has_arguments:
        parameters.append("**arguments: Unpack[ArgumentParameters]")
    yield from _signature(component.name, parameters)
    yield f'    """{component.description}'
    yield from ("", "    Args:")
    yield from _described("request", f"{REQUEST.description} A path, a mapping or a channel works as well.")
    for one in given:
        yield from _described(one.name, one.description)
    yield from _described("image", "Image of the container.")
    if has_arguments:
        yield from _described("arguments", "Training arguments that override those in the request.")
    yield from ("", "    Raises:")
    yield from _described("InvalidRequestError", "Everything that is wrong and known before the pipeline runs.")
    yield '    """'
    yield f'    return create_task("{component.name}", **locals())'


def _signature(name: str, parameters: list[str]) -> Iterator[str]:
    """Yield the lines of a signature as ruff formats it: on one line, indented on one, or a line for each parameter."""
    in_one = ", ".join(parameters)
    whole = f"def {name}({in_one}) -> dsl.PipelineTask:"
    if len(whole) <= _WIDTH:
        yield whole
        return
    yield f"def {name}("
    yield from [f"    {in_one}"] if len(in_one) + 4 <= _WIDTH else [f"    {one}," for one in parameters]
    yield ") -> dsl.PipelineTask:"


def _is_argument(parameter: Parameter) -> bool:
    return parameter.sets.startswith("arguments.")


def _described(name: str, text: str) -> list[str]:
    first, *others = wrap(f"{name}: {text[0].lower()}{text[1:]}", _WIDTH - 12, break_on_hyphens=False)
    return [f"        {first}", *(f"            {line}" for line in others)]
