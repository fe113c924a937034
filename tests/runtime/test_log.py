"""What a run says while it works, for people and for programs."""

import json
import time

import pytest

from embedstep.runtime.log import LOG_VARIABLE, log_format, repeat, say, say_while


@pytest.mark.parametrize(
    ("given", "form"),
    [(None, "text"), ("json", "json"), ("lines", "lines"), ("quiet", "quiet"), ("loud", "text"), ("", "text")],
)
def test_the_environment_names_the_format(given: str | None, form: str) -> None:
    assert log_format({} if given is None else {LOG_VARIABLE: given}) == form


@pytest.mark.parametrize(
    ("form", "line"), [("text", "waiting\n"), ("lines", "waiting\n"), ("quiet", "")], ids=["text", "lines", "quiet"]
)
def test_a_line_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str, line: str
) -> None:
    monkeypatch.setenv(LOG_VARIABLE, form)
    say("waiting", train_step=3)
    assert capsys.readouterr() == ("", line)


def test_a_program_gets_the_values_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG_VARIABLE, "json")
    say("wartet: ü\nund mehr", train_step=3)
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("+00:00")
    assert found == {"message": "wartet: ü\nund mehr", "train_step": 3}


def test_what_takes_long_says_so_until_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with say_while("reading the data", 0.05):
        deadline = time.monotonic() + 10
        while not (said := capsys.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said.splitlines()[0] == "reading the data, for 0 s"
    capsys.readouterr()
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_what_ends_soon_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with say_while("reading the data"):
        pass
    assert capsys.readouterr().err == ""


def test_the_thread_ends_when_the_block_raises() -> None:
    calls: list[int] = []
    with pytest.raises(KeyError), repeat(lambda: calls.append(1), 0.01):
        raise KeyError
    made = len(calls)
    time.sleep(0.05)
    assert len(calls) == made
