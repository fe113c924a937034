"""How each argument is supported, and since which release there is one."""

from collections import Counter

import pytest

from embedstep.request.arguments.support import LATER, SUPPORT_MEANINGS
from embedstep.request.arguments.table import CONTRACT, GROUPS, Legacy
from tests.request.arguments.test_table import FIELDS, installed


def test_31_arguments_came_later_and_31_were_removed() -> None:
    assert sum(row.since == LATER for row in CONTRACT.values()) == 31
    assert len(Legacy.model_fields) == 31
    assert not set(Legacy.model_fields) & set(installed())


def test_every_argument_has_one_row_and_one_level_of_support() -> None:
    names = [name for group in GROUPS for name in group.model_fields]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(names) == set(FIELDS) == set(CONTRACT)
    assert Counter(row.support for row in CONTRACT.values()).keys() == set(SUPPORT_MEANINGS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_argument_says_what_it_is_for(name: str) -> None:
    row = CONTRACT[name]
    assert row.description.endswith(".")
    assert (row.instead != "") == (row.support == "refused")
    assert (row.by != "") == (row.support in ("implemented", "environment"))
