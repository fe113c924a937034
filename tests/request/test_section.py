"""What every section of a request refuses and promises."""

import pytest
from pydantic import TypeAdapter, ValidationError

from embedstep.request.schema import TrainRequest
from embedstep.request.section import Name, Section, described


class Part(Section):
    count: int = described(1, "A count.")


def test_a_section_is_frozen_and_takes_no_unknown_key() -> None:
    with pytest.raises(ValidationError):
        Part.model_validate({"counts": 2})
    with pytest.raises(ValidationError):
        Part().count = 2  # type: ignore[misc]


def test_a_section_repairs_nothing_that_its_types_do_not() -> None:
    with pytest.raises(ValidationError):
        Part.model_validate({"count": "2"})


def test_the_schema_shows_the_sentence_of_a_field() -> None:
    assert Part.model_json_schema()["properties"]["count"] == {
        "default": 1, "description": "A count.", "title": "Count", "type": "integer",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [("docs", True), ("a-b_C9", True), ("a" * 64, True), ("a" * 65, False), ("-a", False), ("a.b", False), ("", False)],
)
def test_a_name_may_stand_in_the_name_of_a_metric_and_of_a_file(name: str, is_valid: bool) -> None:
    adapter = TypeAdapter(Name)
    if is_valid:
        assert adapter.validate_python(name) == name
    else:
        with pytest.raises(ValidationError):
            adapter.validate_python(name)


def sections(kind: type[Section]) -> list[type[Section]]:
    return [found for child in kind.__subclasses__() for found in (child, *sections(child))]


def test_every_section_of_a_request_describes_its_fields() -> None:
    found = sections(Section)
    assert TrainRequest in found
    fields = [field for section in found if section is not Part for field in section.model_fields.values()]
    assert all(field.description for field in fields)
