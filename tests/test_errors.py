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
