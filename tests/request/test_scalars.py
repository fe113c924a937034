"""A value is read by the type of its field."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from embedstep.request.scalars import Boolean, CountOrShare, Integer, Number, Plain, Text, plain

_NAMES = {id(Integer): "integer", id(Number): "number", id(Boolean): "boolean", id(Text): "text"}


def _shown(value: Any) -> str:
    """The same in every process: the types' own texts hold addresses."""
    return _NAMES.get(id(value), "count or share" if value is CountOrShare else repr(value))


@pytest.mark.parametrize(
    ("type_", "raw", "value"),
    [
        (Integer, "16", 16),
        (Integer, 32.0, 32),
        (Integer, Plain("7", 7), 7),
        (Number, "1e-5", 1e-5),
        (Number, 3, 3.0),
        (Boolean, "yes", True),
        (Boolean, "Off", False),
        (Text, Plain("1.10", 1.1), "1.10"),
        (Text, Plain("007", 7), "007"),
        (CountOrShare, "500", 500),
        (CountOrShare, 0.5, 0.5),
        (CountOrShare, 1.0, 1.0),
    ],
    ids=_shown,
)
def test_a_value_without_doubt_is_repaired(type_: Any, raw: Any, value: Any) -> None:
    found = TypeAdapter(type_).validate_python(raw, strict=True)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("type_", "raw"),
    [
        (Integer, 1.5),
        (Integer, True),
        (Integer, "010"),
        (Integer, 2**63),
        (Number, float("nan")),
        (Number, "inf"),
        (Number, True),
        (Boolean, 1),
        (Boolean, "maybe"),
        (Text, "None"),
        (Text, 3),
    ],
    ids=_shown,
)
def test_a_value_in_doubt_is_refused(type_: Any, raw: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(type_).validate_python(raw, strict=True)


def test_plain_values_are_found_at_any_depth() -> None:
    assert plain({"a": [Plain("1.10", 1.1), {"b": Plain("yes", True)}], "c": "text"}) == {
        "a": [1.1, {"b": True}],
        "c": "text",
    }
