"""Where in the request a column of a role is named."""

import pytest

from embedstep.data.roles import Role, RowNeeds, list_roles, repeated_columns
from embedstep.request.columns import Columns

WHERE = "data.train.docs"


@pytest.mark.parametrize(
    ("name", "key", "path"),
    [
        ("anchor", "anchor", "data.train.docs.columns.anchor"),
        ("negative_2", "negative", "data.train.docs.columns.negative"),
        ("length", "length", "arguments.length_column_name"),
        ("slice", "slice", "promotion.slices"),
    ],
)
def test_a_role_knows_the_field_that_names_its_column(name: str, key: str, path: str) -> None:
    assert Role(name=name, key=key, column="text").path(WHERE) == path


def test_a_column_with_two_roles_is_a_problem_of_the_second() -> None:
    roles = tuple(
        Role(name=name, key=name, column=column)
        for name, column in (("anchor", "text"), ("positive", "answer"), ("label", "text"))
    )
    (problem,) = repeated_columns(WHERE, roles)
    assert problem.path == "data.train.docs.columns.label"
    assert "'text'" in problem.message
    assert repeated_columns(WHERE, roles[:2]) == []


@pytest.mark.parametrize(
    ("keys", "problems"),
    [
        (("anchor", "positive"), 0),
        (("anchor", "negative"), 1),
        (("positive", "negative"), 1),
        (("anchor", "positive", "negative"), 1),
        (("anchor", "label"), 1),
    ],
)
def test_only_anchor_and_positive_may_be_one_column(keys: tuple[str, ...], problems: int) -> None:
    """As in SimCSE, where dropout makes the two vectors of a text."""
    assert len(repeated_columns(WHERE, tuple(Role(name=key, key=key, column="text") for key in keys))) == problems


@pytest.mark.parametrize(
    ("negative", "names"),
    [
        ({"list": "n", "take": 1}, ["negative"]),
        ({"list": "n", "take": 2}, ["negative_1", "negative_2"]),
        (["n"], ["negative"]),
        (["n", "m"], ["negative_1", "negative_2"]),
    ],
)
def test_negatives_are_named_alike_wherever_they_are(negative: object, names: list[str]) -> None:
    roles = list_roles(Columns.model_validate({"anchor": "q", "negative": negative}))
    assert [role.name for role in roles[1:]] == names
    assert repeated_columns(WHERE, roles) == []


def test_needs_are_asked_of_the_columns_that_they_are_about() -> None:
    needs = RowNeeds(integer_labels=True, optional_negatives=True)
    columns = {"anchor": "q", "positive": "p", "negative": ["n", "m"], "label": "l"}
    roles = needs.apply(list_roles(Columns.model_validate(columns)))
    assert [role.name for role in roles if role.optional] == ["negative_1", "negative_2"]
    assert [role.name for role in roles if role.integers] == ["label"]
    taken = needs.apply(list_roles(Columns.model_validate({**columns, "negative": {"list": "n", "take": 2}})))
    assert not any(role.optional for role in taken)
