"""The words of the project: the field's own, which a tired native speaker understands at first reading."""

import re
import subprocess

import pytest

from tests.places import ROOT

BANNED = (
    r"told|tells?|telling",
    r"heard|hears?",
    r"beside|aside|anew|whoever",
    r"lends?|lent|lending",
    r"(?:lay|lays|laid|lie|lies|lay it) down",
    r"hand(?:s|ed|ing)? out",
    r"mend(?:s|ed|ing)?",
    r"(?:goes|go|went|going|gone) on",
    r"in vain",
    r"gone bad",
    r"doors?|boxes|box|verbs?|dialects?",
    r"whole numbers?",
    r"flags?",
    r"seed(?:'s)? (?:era|class|trainer)|seed[ -]era|the seed's",
)
"""Patterns of words with a plainer term of the field; a `_` in a name ends a word as a space does."""
ALLOWED = (
    r"is_flag",  # click
    r"csv\.Dialect|Dialect\b",  # the standard library's
    r"box=None|box-sizing: border-box",  # rich, CSS
    r"verbs: \[|^ *verbs:",  # Kubernetes' rules of a Role
    r"flags=re\.\w+",
)
"""What other libraries call so."""
PATTERN = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(BANNED)})(?![A-Za-z])", re.IGNORECASE)
PLACES = ("src", "tests", "docs", "components", "pipelines", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
ITSELF = "tests/test_words.py"


def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", *PLACES], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if name != ITSELF and not name.endswith((".png", ".txt"))]


def banned_in(text: str) -> list[str]:
    """Lines that hold a banned word."""
    kept = re.sub("|".join(ALLOWED), "", text, flags=re.MULTILINE)
    return [line.strip() for line in kept.splitlines() if PATTERN.search(line)]


@pytest.mark.parametrize(
    ("line", "is_banned"),
    [
        ("the first node is told", True),
        ("_told = 1", True),
        ("def tell(self) -> None:", True),
        ("a toll of tellers", False),
        ("it goes on from the checkpoint", True),
        ("besides that", False),
        ("an amended plan", False),
        ("is_flag=True", False),
        ("adoor", False),
    ],
)
def test_a_banned_word_is_found_as_a_whole_word(line: str, is_banned: bool) -> None:
    assert bool(banned_in(line)) == is_banned


@pytest.mark.parametrize("name", files())
def test_a_file_uses_the_words_of_the_field(name: str) -> None:
    assert banned_in((ROOT / name).read_text(encoding="utf-8")) == []
