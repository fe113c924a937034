"""The role of each column, as a request says it."""

import pytest
from pydantic import ValidationError

from embedstep.request.columns import Columns
from embedstep.request.scalars import Plain


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"question": "anchor"}, "{anchor: question}"),
        ({"question": "anchor", "answer": "positive"}, "{anchor: question, positive: answer}"),
        ({Plain("1", 1): "anchor", "score": "label"}, "{anchor: 1, label: score}"),
    ],
)
def test_columns_and_roles_the_other_way_round_are_named(given: dict[object, str], written: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Columns.model_validate({getattr(key, "text", key): role for key, role in given.items()})
    expected = f"Value error, names the role of each column; write it the other way round: {written}"
    assert [detail["msg"] for detail in refused.value.errors()] == [expected]


@pytest.mark.parametrize(
    "given",
    [{"anchor": "anchor"}, {"anchor": "positive", "positive": "anchor"}, {"anchor": "q", "negative": ["a", "b"]}],
)
def test_columns_may_have_the_names_of_roles(given: dict[str, object]) -> None:
    assert Columns.model_validate(given).anchor == given["anchor"]
