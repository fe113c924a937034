import re

import pytest

from embedstep.cli.glossary import GLOSSARY, Term, all_terms

TERMS = list(all_terms())


def test_all_terms_are_those_of_the_sections() -> None:
    assert next(iter(GLOSSARY)) == "The request"
    assert len(TERMS) == sum(map(len, GLOSSARY.values())) > 100


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.names)
def test_a_term_is_one_row_of_a_table(term: Term) -> None:
    assert re.fullmatch(r"[^|`]+", term.names)
    assert re.fullmatch(r"\S[^|]*[^|.\s]", term.meaning)
    assert term.meaning.count("`") % 2 == 0
    assert not re.search("[|`]", term.code)
