"""The table of components holds together: names, fields that parameters set, and what a task leaves."""

from typing import Any

import pytest

from embedstep.orchestration.components import COMPONENTS, Component
from embedstep.request.arguments.table import CONTRACT
from embedstep.request.schema import TrainRequest

by_name = pytest.mark.parametrize("component", COMPONENTS.values(), ids=lambda component: component.name)


def test_a_component_is_found_by_its_name() -> None:
    assert [component.name for component in COMPONENTS.values()] == list(COMPONENTS)


@by_name
def test_no_two_inputs_share_a_name_and_no_two_outputs(component: Component) -> None:
    for ports in ((component.parameters, component.inputs), (component.outputs, component.results)):
        names = [port.name for group in ports for port in group]
        assert len(set(names)) == len(names)
        assert all(name.isidentifier() for name in names)


@by_name
def test_a_parameter_sets_a_field_that_a_request_has(component: Component) -> None:
    for parameter in component.parameters:
        if parameter.sets:
            section, _, field = parameter.sets.partition(".")
            annotation = TrainRequest.model_fields[section].annotation
            assert field in (CONTRACT if section == "arguments" else getattr(annotation, "model_fields", ()))


@by_name
def test_everything_has_a_sentence(component: Component) -> None:
    described: tuple[Any, ...] = (
        component,
        *component.parameters,
        *component.inputs,
        *component.outputs,
        *component.results,
    )
    assert [one.name for one in described if not one.description.strip().endswith((".", ")", "`"))] == []
