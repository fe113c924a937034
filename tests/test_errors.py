"""The kind of an error decides its exit code, and a refusal survives the way through another process."""

import signal

import pytest

from embedstep import errors
from embedstep.errors import (
    EmbedstepError,
    InvalidRequestError,
    Problem,
    StepInterruptedError,
    collect_problems,
    first_line,
    group_alike,
    signal_name,
    suggest,
)


def kinds(base: type[EmbedstepError]) -> list[type[EmbedstepError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in kinds(child))]


@pytest.mark.parametrize("kind", kinds(EmbedstepError))
def test_every_kind_of_error_has_an_exit_code_of_the_contract(kind: type[EmbedstepError]) -> None:
    assert kind.exit_code in errors.OUTCOMES
    assert kind.exit_code != errors.OK


def test_a_refusal_is_rebuilt_from_its_lines() -> None:
    problems = (Problem("loss.kind", "no loss has this name: x"), Problem("", "the document is empty"))
    error = InvalidRequestError(problems)
    assert InvalidRequestError.from_lines(str(error).splitlines()).problems == problems


def test_problems_of_several_parts_are_collected() -> None:
    problems = [Problem("data", "is missing")]
    with collect_problems(problems):
        raise InvalidRequestError.at("loss", "is missing")
    with pytest.raises(ValueError, match="another error"), collect_problems(problems):
        raise ValueError("another error")
    assert problems == [Problem("data", "is missing"), Problem("loss", "is missing")]


def test_an_interruption_names_the_signal_and_the_train_step() -> None:
    error = StepInterruptedError(signal.SIGTERM).after(12, 40)
    assert "SIGTERM" in str(error)
    assert "after train step 12 of 40" in str(error)
    assert error.number == signal.SIGTERM


def test_a_signal_without_a_name_has_its_number() -> None:
    assert signal_name(signal.SIGINT) == "SIGINT"
    assert signal_name(41) == "signal 41"


@pytest.mark.parametrize(
    ("message", "line"),
    [("no answer", "no answer"), (" refused.\nat line 3", "refused"), ("", "ValueError")],
)
def test_the_first_line_of_an_error(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("cosnt", ("cosent", "softmax"), "; did you mean cosent?"),
        (" QUESTION", ("Question", "answer"), "; did you mean Question?"),
        ("zzz", ("cosent",), ""),
        ("a", (), ""),
    ],
)
def test_a_similar_name_is_suggested(name: str, known: tuple[str, ...], hint: str) -> None:
    assert suggest(name, known) == hint


def test_a_mistake_that_many_datasets_share_is_shown_twice_and_counted() -> None:
    """200 datasets without a column gave 200 lines and 26 kB."""
    missing = [
        f"data.train.set{number}.columns.anchor: rows/set{number}.parquet has no column 'q'; its columns are a, b"
        for number in range(200)
    ]
    other = "data.train.set7.columns.label: needs an integer; 'x' was given"
    shown = group_alike([*missing[:100], other, "arguments.max_steps: is 0", *missing[100:]])
    assert shown == [
        *missing[:2],
        "the same in 198 more datasets: data.train.set2, data.train.set3, data.train.set4, data.train.set5, "
        "data.train.set6, ...",
        other,
        "arguments.max_steps: is 0",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        [f"data.eval.set{number}.path: set{number}.csv does not exist" for number in range(5)],
        [f"data.train.set{number}.path: does not exist in the year of {'abcdefgh'[number]}" for number in range(8)],
        [f"arguments.field{number}: is not known" for number in range(20)],
        [f"loss.set{number}.kind: is wrong" for number in range(3)] + [f"data.train.set{number}: is wrong"
         for number in range(3)],
        ["no path", "no path: "],
    ],
)  # fmt: skip
def test_few_problems_and_different_ones_are_all_shown(lines: list[str]) -> None:
    assert group_alike(lines) == lines
