"""Long texts are shortened for people."""

import pytest

from embedstep.runtime.text import shorten


@pytest.mark.parametrize(
    ("text", "short"),
    [("a\n  b", "a b"), ("x" * 10, "x" * 10), ("x" * 11, "x" * 9 + "…"), ("字" * 11, "字" * 9 + "…")],
)
def test_a_text_is_one_line_of_at_most_as_many_characters(text: str, short: str) -> None:
    assert shorten(text, 10) == short
