"""The table of arguments, as a reader gets it."""

import json

import pytest
from docs.arguments_page import arguments_page

from embedstep.errors import InvalidRequestError
from embedstep.request.arguments.listing import argument_record, argument_records, in_lines
from embedstep.request.arguments.table import CONTRACT


def test_every_argument_has_a_record_that_json_can_hold() -> None:
    records = argument_records()
    assert [record["name"] for record in records] == list(CONTRACT)
    assert json.loads(json.dumps(records)) == records


def test_one_record_is_that_of_the_list_and_has_no_empty_line() -> None:
    record = argument_record("learning_rate")
    assert record in argument_records()
    assert all(text for _, text in in_lines(record))


def test_a_name_with_a_slip_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidRequestError, match="learning_rate"):
        argument_record("learning_rte")


def test_the_page_has_a_row_for_each_argument() -> None:
    page = arguments_page()
    assert [name for name in CONTRACT if f"\n| `{name}` |" not in page] == []
