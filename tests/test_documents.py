"""What the documents point at is there: pages, headings, files, targets of the Makefile."""

import re
from pathlib import Path

import pytest

from tests.places import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "components").glob("*/README.md")])
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
ROOTS = ("src/", "tests/", "docs/", "components/", "pipelines/", ".ci/", ".github/")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_page_and_heading_of_the_repository(page: Path) -> None:
    assert broken_links(page) == []
    outside = [link for link in re.findall(r"\]\(([^)#\s]+)", text_of(page)) if not re.match(r"https?:", link)]
    assert [link for link in outside if ROOT not in (page.parent / link).resolve().parents] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_make_target_that_a_page_names_exists(page: Path) -> None:
    assert set(re.findall(r"(?:`|\$ )make\s+([a-z][a-z-]*)", text_of(page))) <= TARGETS


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", ROOT / "README.md"], ids=lambda page: str(page.name))
def test_a_path_that_a_page_names_exists(page: Path) -> None:
    named = [path for path in re.findall(r"`([\w./-]+/[\w./-]*)`", text_of(page)) if path.startswith(ROOTS)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_contributing_names_every_target_that_checks_something() -> None:
    named = set(re.findall(r"`make ([a-z-]+)`", text_of(ROOT / "CONTRIBUTING.md")))
    assert {name for name in TARGETS if name.startswith("test")} | {"check", "faults", "golden", "bench"} <= named


def test_contributing_says_how_to_add_each_kind_of_thing() -> None:
    headings = anchors(ROOT / "CONTRIBUTING.md")
    assert {
        "add-a-training-argument",
        "add-a-loss-or-an-evaluator-of-sentence-transformers",
        "add-one-of-your-own",
        "add-a-tracker",
        "add-a-component-of-a-pipeline",
        "add-an-orchestrator",
    } <= headings


def test_the_glossary_names_a_term_once() -> None:
    terms = re.findall(r"^\| ([^|`]+) \|", text_of(ROOT / "docs" / "glossary.md"), re.MULTILINE)
    names = [name for term in terms for name in term.split(", ") if name != "term"]
    assert len(names) > 40
    assert sorted(names) == sorted(set(names))
