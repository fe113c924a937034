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

from embedstep.orchestration.components import COMPONENTS
from embedstep.orchestration.kfp.components import IMAGE, create_task
from embedstep.orchestration.typed_arguments import ArgumentParameters

__all__ = [
'''
_WIDTH = 120


def component_functions() -> str:
    """Return the source of `orchestration/kfp/functions.py`: one function for each component."""
    names = "".join(f'    "{name}",\n' for name in sorted(COMPONENTS))
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
    yield f"def {component.name}("
    yield from ("    request: Any,", "    *,")
    for one in given:
        is_required = isinstance(one, Artifact) and one.is_required
        yield f"    {one.name}: Any{'' if is_required else ' = None'},"
    yield "    image: str = IMAGE,"
    if has_arguments:
        yield "    **arguments: Unpack[ArgumentParameters],"
    yield ") -> dsl.PipelineTask:"
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
    yield "    return create_task("
    yield from (f"        {text}," for text in (f'COMPONENTS["{component.name}"]', "image", "request"))
    yield from (f"        {one.name}={one.name}," for one in given)
    if has_arguments:
        yield "        **arguments,"
    yield "    )"


def _is_argument(parameter: Parameter) -> bool:
    return parameter.sets.startswith("arguments.")


def _described(name: str, text: str) -> list[str]:
    first, *others = wrap(f"{name}: {text[0].lower()}{text[1:]}", _WIDTH - 12, break_on_hyphens=False)
    return [f"        {first}", *(f"            {line}" for line in others)]
