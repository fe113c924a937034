"""Training arguments as typed parameters of a component."""

from embedstep.orchestration.parameters import argument_parameters, field_parameters
from embedstep.request.arguments.table import CONTRACT
from embedstep.request.schema import Promotion

ALL = {parameter.name: parameter for parameter in argument_parameters()}


def test_each_argument_is_a_parameter_in_the_order_of_the_table() -> None:
    assert list(ALL) == list(CONTRACT)
    assert all(parameter.sets == f"arguments.{name}" for name, parameter in ALL.items())


def test_what_a_pipeline_can_type_is_typed_and_the_rest_is_json() -> None:
    kinds = {name: ALL[name].kind for name in ("seed", "learning_rate", "run_name", "optim", "report_to", "prompts")}
    assert kinds == {
        "seed": "integer", "learning_rate": "number", "run_name": "text", "optim": "text", "report_to": "json",
        "prompts": "json",
    }  # fmt: skip


def test_an_argument_without_a_meaning_says_what_to_write_instead() -> None:
    refused = {name for name, row in CONTRACT.items() if row.instead}
    assert refused
    assert all(CONTRACT[name].instead in ALL[name].description for name in refused)


def test_any_section_gives_parameters() -> None:
    (gain,) = field_parameters(Promotion, "promotion", ["minimum_gain"])
    assert (gain.kind, gain.sets) == ("number", "promotion.minimum_gain")
