"""Pictures that take the page's colours and have no name in common."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from embedstep.report.charts import draw_bars, draw_curves, draw_intervals
from embedstep.report.series import Series

LINE = Series(steps=np.arange(3.0), values=np.array([0.1, 0.3, 0.2]))
PICTURES = {
    "curves": lambda key: draw_curves(key, {"loss": LINE, "other": LINE}, champion={"loss": 0.25}),
    "intervals": lambda key: draw_intervals(key, {"all": {"gain": 0.1, "low": -0.1, "high": 0.3}}),
    "amounts": lambda key: draw_bars(key, {"training": 12.5, "saving": 0.5}, unit="seconds"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_is_svg_without_script_size_or_colour_of_its_own(kind: str) -> None:
    text = PICTURES[kind]("a")
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("width") is None
    assert "var(--ink)" in text
    assert "<script" not in text
    assert not re.search(r"#0[123]0[234]0[345]|#10000\d", text)


@pytest.mark.parametrize("kind", PICTURES)
def test_two_pictures_of_a_page_share_no_id(kind: str) -> None:
    first, second = (set(re.findall(r'\bid="([^"]+)"', PICTURES[kind](key))) for key in ("a", "b"))
    assert first
    assert not first & second


def test_what_a_user_calls_something_is_text_in_a_picture() -> None:
    text = draw_bars("a", {"<script>alert(1)</script>": 1.0}, unit="$x$ & y")
    assert "<script>" not in text
    assert "$x$ &amp; y" in "".join(text)
