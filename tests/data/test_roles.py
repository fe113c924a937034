"""Where in the request a column of a role is named."""

import pytest

from embedstep.data.roles import Role, repeated_columns

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
