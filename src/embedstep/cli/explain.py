"""The command that says what a word of a plan, a result or a document means."""

import re
from typing import TYPE_CHECKING

import click

from embedstep.cli.layout import aligned, wrap_lines
from embedstep.cli.options import main, show_errors
from embedstep.errors import InvalidRequestError, suggest

if TYPE_CHECKING:
    from embedstep.cli.glossary import Term

_PLURAL = re.compile(r"(?<=.{3})(?:(?<=ss|ch)es|(?<!s)s)$")


@main.command()
@click.argument("words", metavar="[WORD]", nargs=-1)
def explain(words: tuple[str, ...]) -> None:
    """Explain a word of a plan, a result or a message, or list all terms.

    WORD is a heading, the name of a row, a metric or a key of result.json.

    \b
    Examples:
      embedstep explain
      embedstep explain "batch share"
      embedstep explain rows_unreached
    """
    from embedstep.cli.glossary import all_terms

    with show_errors("explain"):
        if not words:
            click.echo("\n".join(aligned([(term.names, _plain(term.meaning)) for term in all_terms()])))
            return
        word = " ".join(words)
        found = find_terms(word)
        if not found:
            raise InvalidRequestError.at(word, f"is not in the glossary{_hint(word)}")
        lines = []
        for term in found:
            code = f" ({term.code})" if term.code and term.code != term.names else ""
            lines.append(f"{term.names}{code}: {_plain(term.meaning)}")
        click.echo("\n".join(wrap_lines(lines)))


def find_terms(word: str) -> list["Term"]:
    """Return the terms for a word, in singular or plural: of this name, else of this name in code, else with it inside.

    Args:
        word: the word; case, hyphens and underscores do not count, so that a key of `result.json` is found as well.
    """
    from embedstep.cli.glossary import all_terms

    wanted = _words(word)
    if not wanted:
        return []
    known = list(all_terms())
    # A key such as eval_docs_cosine_ndcg@10 has the name of a metric inside; words with spaces are meant as a whole.
    is_key = "_" in word or "@" in word
    for matches in (_has_name, _has_code, _has_words, *([_is_inside] if is_key else [])):
        if found := [term for term in known if matches(term, wanted)]:
            return found
    return []


def _has_name(term: "Term", wanted: tuple[str, ...]) -> bool:
    return _is_one_of(wanted, term.names)


def _has_code(term: "Term", wanted: tuple[str, ...]) -> bool:
    return _is_one_of(wanted, term.code)


def _is_one_of(wanted: tuple[str, ...], names: str) -> bool:
    # Joined, so that warmup is warm-up.
    return "".join(wanted) in ["".join(_words(name)) for name in names.split(", ")]


def _has_words(term: "Term", wanted: tuple[str, ...]) -> bool:
    return any(set(wanted) <= set(_words(name)) for name in term.names.split(", "))


def _is_inside(term: "Term", wanted: tuple[str, ...]) -> bool:
    return any(set(_words(name)) <= set(wanted) for name in term.names.split(", "))


def _words(text: str) -> tuple[str, ...]:
    """Return the lower-case words of a text in the singular, without the k or number behind an @."""
    words = re.findall(r"[^\W_]+", re.sub(r"@\w+", "", text.casefold()))
    return tuple(_PLURAL.sub("", re.sub("ies$", "y", word)) for word in words)


def _plain(meaning: str) -> str:
    return meaning.replace("`", "")


def _hint(word: str) -> str:
    from embedstep.cli.glossary import all_terms
    from embedstep.request.arguments.table import CONTRACT

    if word in CONTRACT:
        return f"; embedstep arguments {word} describes this training argument"
    names = [name for term in all_terms() for name in term.names.split(", ")]
    return suggest(word, names) or "; embedstep explain lists all terms"
