"""Long texts are shortened for people."""

from pathlib import Path

import pytest

from embedstep.runtime.text import count, format_seconds, redacted_first_line, shorten, shown_path


@pytest.mark.parametrize(
    ("text", "short"),
    [("a\n  b", "a b"), ("x" * 10, "x" * 10), ("x" * 11, "x" * 9 + "…"), ("字" * 11, "字" * 9 + "…")],
)
def test_a_text_is_one_line_of_at_most_as_many_characters(text: str, short: str) -> None:
    assert shorten(text, 10) == short


def test_the_first_line_of_an_error_has_no_secret() -> None:
    error = ValueError("https://user:pass@host refused.\nmore")
    assert redacted_first_line(error) == "https://***@host refused"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h"), (90_000, "25.0 h")],
)
def test_a_time_has_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_path_is_shown_as_a_person_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "outputs" / "docs") == "outputs/docs"
    assert shown_path(Path("/elsewhere/docs")) == "/elsewhere/docs"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "train step", "1 train step"),
        (0, "train step", "0 train steps"),
        (2, "train step", "2 train steps"),
        (12000, "row", "12,000 rows"),
        (1, "process", "1 process"),
        (2, "process", "2 processes"),
        (3, "batch", "3 batches"),
        (3, "epoch", "3 epochs"),
        (3, "query", "3 queries"),
        (1, "query", "1 query"),
        (2, "day", "2 days"),
    ],
)
def test_a_number_agrees_with_its_noun(number: int, noun: str, text: str) -> None:
    assert count(number, noun) == text
