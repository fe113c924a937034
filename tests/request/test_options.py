"""Options of losses, evaluators and modules: which values each kind takes, and what a wrong one is answered."""

from typing import Any

import pytest

from embedstep.request.options import (
    Option,
    boolean,
    check_options,
    choice,
    choices,
    describe_option,
    integer,
    integers,
    number,
    numbers,
    option_value,
    some,
    text,
    weights,
    words,
)
from embedstep.request.scalars import Plain

NAMES = ("cls", "max", "mean")
OPTIONS = {"scale": number(20.0, above=0), "guide": text(), "mode": choice("mean", NAMES)}


@pytest.mark.parametrize(
    ("option", "raw", "value"),
    [
        (boolean(True), "false", False),
        (integer(1), "32", 32),
        (integer(1), 32.0, 32),
        (integer(None), None, None),
        (number(20.0), "1e-5", 1e-5),
        (number(20.0), Plain("0.5", 0.5), 0.5),
        (number(20.0, may_be_null=True), None, None),
        (choice("mean", NAMES), "MEAN", "mean"),
        (some("mean", NAMES), "Max", "max"),
        (some("mean", NAMES), ["max", "cls"], ["max", "cls"]),
        (integers([10]), ["1", 10], [1, 10]),
        (numbers([1.0]), ["0.5", 1], [0.5, 1.0]),
        (words(), ["open", "file"], ["open", "file"]),
        (words(), "words.txt", "words.txt"),
        (weights(), {"open": "2"}, {"open": 2.0}),
        (text(), "models/guide", "models/guide"),
    ],
)
def test_a_value_is_converted_to_the_kind_of_its_option(option: Option, raw: Any, value: Any) -> None:
    found = option_value(option, raw)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("option", "raw", "message"),
    [
        (boolean(True), 1, "must be true or false, not 1"),
        (integer(1, least=1), 0, "must be an integer of 1 or more, not 0"),
        (integer(1), 2.5, "must be an integer, not 2.5"),
        (integer(1), True, "must be an integer, not True"),
        (number(0.1, least=0, most=1), 2, "must be a number of 0 or more and 1 or less, not 2"),
        (number(20.0, above=0), 0, "must be a number above 0, not 0"),
        (number(20.0), None, "must be a number, not None"),
        (choice("mean", NAMES), "mena", "must be one of cls, max, mean, not 'mena'; did you mean mean?"),
        (choices(None, NAMES), ["cls", "cls"],
         "must be a list, each once, of cls, max, mean, or null, not ['cls', 'cls']"),
        (choices(None, NAMES), "cls", "must be a list, each once, of cls, max, mean, or null, not 'cls'"),
        (integers([10], least=1), [], "must be a list of integers of 1 or more, not []"),
        (integers([10], least=1), [5, 0], "must be a list of integers of 1 or more, not [5, 0]"),
        (words(), {"open": 1}, "must be a list of words, or a file with a word on each line, not {'open': 1}"),
        (weights(), ["open"], "must be a number for each word, or a JSON file with them, not ['open']"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_refused_with_what_would_be_right(option: Option, raw: Any, message: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        option_value(option, raw)
    assert str(caught.value) == message


def test_an_option_says_what_it_takes() -> None:
    assert describe_option(integer(None, least=1)) == "an integer of 1 or more, or null"
    assert describe_option(some("mean", NAMES)) == "one, or a list, each once, of cls, max, mean"


def test_all_problems_of_options_are_reported_at_once() -> None:
    given = {"scal": 1, "mode": "sum", "scale": "2"}
    assert [str(problem) for problem in check_options(OPTIONS, given, "loss.options", "gist_embed")] == [
        "loss.options.scal: is not an option of gist_embed; it has scale, guide, mode; did you mean scale?",
        "loss.options.mode: must be one of cls, max, mean, not 'sum'",
        "loss.options.guide: is missing: gist_embed needs a text",
    ]
    assert [str(problem) for problem in check_options({}, {"scale": 1}, "loss.options", "cosent")] == [
        "loss.options.scale: cosent has no options; remove it"
    ]
