import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.cli.layout import aligned, output_width, wrap_lines


@pytest.mark.parametrize(
    ("rows", "right", "lines"),
    [
        ([], (), []),
        ([("a", "b")], (), ["a  b"]),
        ([("name", "x"), ("a", "long")], (), ["name  x", "a     long"]),
        ([("rows", "x"), ("7", "y")], (0,), ["rows  x", "   7  y"]),
        ([("a", ""), ("b", "c")], (), ["a", "b  c"]),
    ],
)
def test_cells_are_padded_to_their_column(
    rows: list[tuple[str, ...]], right: tuple[int, ...], lines: list[str]
) -> None:
    assert aligned(rows, frozenset(right)) == lines


_cell = st.text("abc 1", max_size=6)


@given(st.lists(st.tuples(_cell, _cell, _cell), min_size=1, max_size=5), st.frozensets(st.integers(0, 2)))
def test_every_cell_is_found_at_its_column(rows: list[tuple[str, str, str]], right: frozenset[int]) -> None:
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    for row, line in zip(rows, aligned(rows, right), strict=True):
        assert len(line) <= sum(widths) + 4
        start = 0
        for cell, width in zip(row, widths, strict=True):
            assert line.ljust(sum(widths) + 4)[start : start + width].strip() == cell.strip()
            start += width + 2


@pytest.mark.parametrize(
    ("columns", "is_terminal", "width"),
    [
        (None, False, None),
        ("", False, None),
        ("0", False, None),
        ("wide", False, None),
        ("60", False, 60),
        ("100", False, 100),
        ("10", False, 40),
        ("60", True, 60),
    ],
)
def test_a_pipe_has_a_width_only_if_columns_gives_one(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, is_terminal: bool, width: int | None
) -> None:
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert output_width() == width


TEXT = "one two three four five six seven eight"


@pytest.mark.parametrize(
    ("rows", "right", "lines"),
    [
        pytest.param([("a", "b c")], (), ["a  b c"], id="fits"),
        pytest.param(
            [("name", "text"), ("a", TEXT)], (),
            ["name  text", "a     one two three four five six", "      seven eight"],
            id="the last column is wrapped",
        ),
        pytest.param(
            [("x", "n", "text"), ("a", "7", TEXT)], (1,),
            ["x  n  text", "a  7  one two three four five six", "      seven eight"],
            id="so it is in a table with headings",
        ),
        pytest.param(
            [("name", "a", "n"), ("x" * 20, "y" * 20, "1"), ("z", "", "2")], (2,),
            ["name", "x" * 20, f"  a  {'y' * 20}", "  n  1", "z", "  n  2"],
            id="a list, without empty cells",
        ),
        pytest.param([("digest", "0" * 64)], (), [f"digest  {'0' * 64}"], id="a word is not broken"),
        pytest.param(
            [("page", f"mlflow ui {TEXT}"), ("a", TEXT)], (),
            [f"page  mlflow ui {TEXT}", "a     one two three four five six", "      seven eight"],
            id="a command is not broken",
        ),
        pytest.param(
            [("x" * 30, TEXT)], (),
            [f"{'x' * 30}  one two three", f"{'':30}  four five six", f"{'':30}  seven eight"],
            id="too narrow",
        ),
    ],
)  # fmt: skip
def test_a_table_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, ...]], right: tuple[int, ...], lines: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert aligned(rows, frozenset(right)) == lines


def test_a_sentence_is_wrapped_with_an_indent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrap_lines([TEXT, "short"]) == [TEXT, "short"]
    monkeypatch.setenv("COLUMNS", "40")
    assert wrap_lines([TEXT, "short"]) == ["one two three four five six seven", "  eight", "short"]
