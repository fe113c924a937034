"""The components of embedstep as Kubeflow's, typed by its argument contract, and tasks of them that were checked."""

import inspect
import json
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Optional

from kfp import dsl
from kfp.dsl.pipeline_channel import PipelineChannel
from pydantic import TypeAdapter, ValidationError

from embedstep import __version__
from embedstep.errors import InvalidRequestError, Problem
from embedstep.orchestration.components import (
    REQUEST,
    TRAIN,
    Artifact,
    Component,
)
from embedstep.orchestration.parameters import Kind, Parameter
from embedstep.orchestration.task import LONGEST_DOCUMENT, REFERENCE, Task, request_of
from embedstep.planning.evaluators import evaluators_are_known
from embedstep.planning.losses import losses_are_known
from embedstep.planning.rules import nothing_is_secret
from embedstep.request.arguments.rules import check_arguments
from embedstep.request.arguments.schema import Arguments
from embedstep.request.loading import problems_of_arguments
from embedstep.request.scalars import Boolean, Integer, Number, Text

IMAGE = f"embedstep:{__version__}"
_EXECUTOR_INPUT = "{{$}}"
"""What Kubeflow replaces by the inputs and outputs of a task, as JSON."""
_TYPES: Mapping[Kind, type] = {"integer": int, "number": float, "flag": bool, "text": str, "json": str}
_WORDS: Mapping[Kind, str] = {"integer": "a whole number", "number": "a number", "text": "text"}
_FIELDS: Mapping[Kind, TypeAdapter[Any]] = {
    "integer": TypeAdapter(Integer),
    "number": TypeAdapter(Number),
    "flag": TypeAdapter(Boolean),
    "text": TypeAdapter(Text),
}


@cache
def component_of(component: Component, image: str = IMAGE) -> Any:
    """Return a component of Kubeflow Pipelines, which compiles to a file or is called in a pipeline.

    Args:
        component: what it is.
        image: image that it runs, with embedstep on its path.
    """

    def definition(*_: Any) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(
            image=image,
            command=["embedstep", "task", component.verb],
            args=["--executor-input", _EXECUTOR_INPUT],
        )

    definition.__name__ = component.name
    definition.__doc__ = _docstring(component)
    definition.__signature__ = inspect.Signature([*_inputs(component), *_outputs(component)])  # type: ignore[attr-defined]
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


def _inputs(component: Component) -> list[inspect.Parameter]:
    artifacts = {one: dsl.Input[getattr(dsl, one.type)] for one in component.inputs}
    return [
        _parameter(REQUEST.name, str),
        *(_parameter(one.name, type_) for one, type_ in artifacts.items() if one.is_required),
        *(_parameter(one.name, _optional(type_), None) for one, type_ in artifacts.items() if not one.is_required),
        *(_parameter(one.name, *_of_kind(one)) for one in component.parameters),
    ]


def _outputs(component: Component) -> list[inspect.Parameter]:
    artifacts = [_parameter(one.name, dsl.Output[getattr(dsl, one.type)]) for one in component.outputs]
    return [*artifacts, *(_parameter(one.name, dsl.OutputPath(_TYPES[one.kind])) for one in component.results)]


def _of_kind(parameter: Parameter) -> tuple[Any, Any]:
    """Return the annotation of a parameter, and its default."""
    if parameter.kind == "status":
        return dsl.PipelineTaskFinalStatus, inspect.Parameter.empty
    return _optional(_TYPES[parameter.kind]), None


def _optional(type_: Any) -> Any:
    return Optional[type_]  # noqa: UP045 - the form `X | None` is another class, which kfp does not take apart


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def task_of(
    component: Component, image: str, request: Any, artifacts: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dsl.PipelineTask:
    """Return a task that Kubeflow does not cache: to it, other rows at the same address are the same input.

    Args:
        component: what the task does.
        image: image of the container.
        request: the request: a file, its text, a mapping, a reference, or a channel.
        artifacts: the artifacts by name; None for one that is not given.
        parameters: the other parameters by name; None for one that is not given.

    Raises:
        InvalidRequestError: with every problem of what is known before the pipeline runs.
    """
    text = _text_of(request)
    artifacts = {name: value for name, value in artifacts.items() if value is not None}
    given = {name: value for name, value in parameters.items() if value is not None}
    known = {name: value for name, value in given.items() if not isinstance(value, PipelineChannel)}
    _check_values(component, known)
    kinds = {one.name: one.kind for one in component.parameters}
    sent = {name: _sent(value, kinds[name]) for name, value in known.items()}
    _check_request(component, text, artifacts, sent)
    return component_of(component, image)(request=text, **artifacts, **(given | sent)).set_caching_options(False)


def _text_of(request: Any) -> Any:
    if isinstance(request, Path):
        try:
            return request.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequestError([Problem("request", f"{request} cannot be read: {error}")]) from None
    return json.dumps(request) if isinstance(request, Mapping) else request


def _check_values(component: Component, parameters: Mapping[str, Any]) -> None:
    """Refuse values that cannot be, whatever the request is."""
    problems = [*_wrong_kinds(component, parameters)]
    if component is TRAIN:
        # By themselves, so that a name that is no argument at all is told.
        arguments = {name: value for name, value in parameters.items() if name != "as_of"}
        try:
            Arguments.model_validate(arguments)
        except ValidationError as error:
            problems += problems_of_arguments(error, arguments)
    if problems:
        raise InvalidRequestError(problems)


def _check_request(component: Component, text: Any, artifacts: Mapping[str, Any], sent: Mapping[str, Any]) -> None:
    """Refuse what cannot work, whatever the pipeline will bring."""
    if isinstance(text, PipelineChannel) or REFERENCE.fullmatch(str(text).strip()):
        return
    if (size := len(text.encode())) > LONGEST_DOCUMENT:
        told = (
            f"has {size:,} bytes, and a pipeline carries {LONGEST_DOCUMENT:,}; lay the file where the step can read "
            "it, and give reference(<path or URL>, <text>)"
        )
        raise InvalidRequestError([Problem("request", told)])
    as_given = Task(
        parameters={**sent, "request": text},
        inputs={name: Path(name) for name in artifacts},
        outputs={},
        output_file=Path(),
    )
    given = request_of(as_given, component, looks=False)
    known = (
        nothing_is_secret(given),
        check_arguments(given.arguments),
        losses_are_known(given),
        evaluators_are_known(given),
    )
    if problems := list(dict.fromkeys(chain.from_iterable(known))):
        raise InvalidRequestError(problems)


def _wrong_kinds(component: Component, parameters: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with parameters that set nothing in the request, which would tell of them."""
    for one in component.parameters:
        if one.sets or one.name not in parameters:
            continue
        value = parameters[one.name]
        wanted = (int, float) if one.kind == "number" else _TYPES[one.kind]
        if not isinstance(value, wanted) or isinstance(value, bool):
            yield Problem(one.name, f"needs {_WORDS[one.kind]}; {value!r} was given")


def _sent(value: Any, kind: Kind) -> Any:
    """Return a value as the component's parameter types it."""
    if kind == "json":
        return json.dumps(value)
    # What YAML would repair, such as 'no' for a flag, is repaired here already.
    value = _FIELDS[kind].validate_python(value)
    return float(value) if kind == "number" else value
