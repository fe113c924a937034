"""Kubeflow components with typed parameters, and pipeline tasks whose values are checked at compile time."""

import inspect
import json
from collections.abc import Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Optional

from kfp import dsl
from kfp.dsl.pipeline_channel import PipelineChannel
from pydantic import TypeAdapter, ValidationError

from embedstep import __version__
from embedstep.errors import InvalidRequestError, Problem
from embedstep.orchestration.components import AS_OF, COMPONENTS, REQUEST, TRAIN, Artifact, Component
from embedstep.orchestration.parameters import Kind, Parameter
from embedstep.orchestration.task import LONGEST_DOCUMENT, REFERENCE, Task, resolve_request
from embedstep.planning.evaluators import evaluators_are_known
from embedstep.planning.losses import losses_are_known
from embedstep.planning.rules import nothing_is_secret
from embedstep.request.arguments.rules import check_arguments
from embedstep.request.arguments.schema import Arguments
from embedstep.request.document import parse_document
from embedstep.request.loading import problems_of_arguments
from embedstep.request.scalars import Boolean, Integer, Number, Text, plain
from embedstep.runtime.digests import sha256_text

IMAGE = f"embedstep:{__version__}"
_EXECUTOR_INPUT = "{{$}}"
"""Kubeflow replaces it with the inputs and outputs of the task, as JSON."""
_TYPES: Mapping[Kind, Any] = {
    "integer": int, "number": float, "boolean": bool, "text": str, "json": str, "status": dsl.PipelineTaskFinalStatus,
}  # fmt: skip
_WORDS: Mapping[Kind, str] = {"integer": "an integer", "number": "a number", "text": "text"}
_FIELDS: Mapping[Kind, TypeAdapter[Any]] = {
    "integer": TypeAdapter(Integer),
    "number": TypeAdapter(Number),
    "boolean": TypeAdapter(Boolean),
    "text": TypeAdapter(Text),
}


@cache
def build_component(component: Component, image: str = IMAGE) -> Any:
    """Build a Kubeflow component, to compile to a file or to call in a pipeline.

    Args:
        component: row of the table.
        image: image with `embedstep` on its PATH.
    """

    def definition(*_: Any) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=image,
            command=["embedstep", "task", component.command],
            args=["--executor-input", _EXECUTOR_INPUT],
        )

    definition.__name__ = component.name
    definition.__doc__ = _docstring(component)
    definition.__signature__ = _signature(component)  # type: ignore[attr-defined]
    return dsl.container_component(definition)


def _docstring(component: Component) -> str:
    named: tuple[Parameter | Artifact, ...] = (
        REQUEST,
        *component.parameters,
        *component.inputs,
        *component.outputs,
        *component.results,
    )
    lines = [f"    {one.name}: {one.description}" for one in named]
    return "\n".join([component.description, "", "Args:", *lines])


def _signature(component: Component) -> inspect.Signature:
    """Return the inputs and outputs as parameters of a function, from which kfp reads a component."""
    given = [(REQUEST.name, str, True)]
    given += [(one.name, dsl.Input[getattr(dsl, one.type)], one.is_required) for one in component.inputs]
    given += [(one.name, _TYPES[one.kind], one.kind == "status") for one in component.parameters]
    given += [(one.name, dsl.Output[getattr(dsl, one.type)], True) for one in component.outputs]
    given += [(one.name, dsl.OutputPath(_TYPES[one.kind]), True) for one in component.results]
    return inspect.Signature([_parameter(*one) for one in given])


def _parameter(name: str, type_: Any, is_required: bool) -> inspect.Parameter:
    default = inspect.Parameter.empty if is_required else None
    annotation = type_ if is_required else Optional[type_]  # noqa: UP045 - kfp does not understand `X | None`
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def create_task(
    name: str, *, request: Any, image: str, arguments: Mapping[str, Any] | None = None, **inputs: Any
) -> dsl.PipelineTask:
    """Create a task without caching: Kubeflow would take changed rows at the same address for the same input.

    Args:
        name: name of the component.
        request: a path, the text, a mapping, a reference, or a channel.
        image: image of the container.
        arguments: training arguments, of a component that takes them.
        inputs: artifacts and other parameters by name; None for those that are not given.

    Raises:
        InvalidRequestError: everything that is wrong and known before the pipeline runs.
    """
    component, text = COMPONENTS[name], _read_text(request)
    inputs = {name: value for name, value in {**inputs, **(arguments or {})}.items() if value is not None}
    artifacts = {one.name: inputs.pop(one.name) for one in component.inputs if one.name in inputs}
    known = {name: value for name, value in inputs.items() if not isinstance(value, PipelineChannel)}
    if component is TRAIN:
        _check_arguments({name: value for name, value in known.items() if name != AS_OF.name})
    sent = _convert(component, known)
    _check_request(component, text, artifacts, sent)
    return build_component(component, image)(request=text, **artifacts, **(inputs | sent)).set_caching_options(False)


def _read_text(request: Any) -> Any:
    if isinstance(request, Path):
        try:
            return request.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequestError([Problem("request", f"{request} cannot be read: {error}")]) from None
    return json.dumps(request) if isinstance(request, Mapping) else request


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse training arguments that are invalid for any request. Without it, so that an unknown name is reported."""
    try:
        Arguments.model_validate(arguments)
    except ValidationError as error:
        raise InvalidRequestError(problems_of_arguments(error, arguments)) from None


def _convert(component: Component, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values to the types of a component's parameters, as in a request: 'no' is false, and 2.0 an integer.

    Raises:
        InvalidRequestError: with every value of another type.
    """
    kinds = {one.name: one.kind for one in component.parameters}
    converted, problems = {}, []
    for name, value in parameters.items():
        kind = kinds[name]
        try:
            found = json.dumps(value) if kind == "json" else _FIELDS[kind].validate_python(value, strict=True)
            converted[name] = float(found) if kind == "number" else found
        except ValidationError:
            problems.append(Problem(name, f"needs {_WORDS[kind]}; {value!r} was given"))
    if problems:
        raise InvalidRequestError(problems)
    return converted


def _check_request(component: Component, text: Any, artifacts: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
    """Refuse a request that cannot work whatever the values of the channels are."""
    if isinstance(text, PipelineChannel) or REFERENCE.fullmatch(str(text).strip()):
        return
    if (size := len(text.encode())) > LONGEST_DOCUMENT:
        message = (
            f"has {size:,} bytes, and a pipeline carries at most {LONGEST_DOCUMENT:,}; store the file where the step "
            "can read it and pass reference(<path or URL>, <text>)"
        )
        raise InvalidRequestError([Problem("request", message)])
    as_given = Task(
        parameters={**sent, "request": text},
        inputs={name: Path(name) for name in artifacts},
        outputs={},
        output_file=Path(),
    )
    given = resolve_request(as_given, component, check_files=False)
    known = (
        nothing_is_secret(given),
        check_arguments(given.arguments),
        losses_are_known(given),
        evaluators_are_known(given),
    )
    if problems := list(dict.fromkeys(chain.from_iterable(known))):
        raise InvalidRequestError(problems)


def one_line(text: str) -> str:
    """Return a request as one line of JSON, for the default of a pipeline parameter.

    Kubeflow's compiler also writes defaults into comments at the top of its file, which a second line would break.

    Args:
        text: the request as YAML or JSON.

    Raises:
        InvalidRequestError: the text is neither.
    """
    return json.dumps(plain(parse_document(text).data), ensure_ascii=False)


def reference(where: str, text: str) -> str:
    """Return a reference to a long request, for a pipeline to carry in its place.

    Args:
        where: path or URL where the step can read the file.
        text: content of the file.
    """
    return f"{where}#sha256={sha256_text(text)}"
