"""Where rows come from: how delimited files are written, databases, functions that make rows, BEIR datasets."""

from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, model_validator

from embedstep.request.scalars import Boolean, Text
from embedstep.request.section import OneOrMore, Options, Section, ShortSection, described


def _check_character(text: str) -> str:
    text = "\t" if text == "\\t" else text
    if len(text) != 1 or not text.isascii() or text in "\r\n":
        raise ValueError("needs one ASCII character")
    return text


def _check_encoding(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError("is not an encoding that Python knows, such as cp1252 or utf-16") from None
    return name


Character = Annotated[Text, AfterValidator(_check_character)]
CharacterOrNone = Annotated[Text, AfterValidator(lambda text: _check_character(text) if text else text)]


class Csv(Section):
    """How delimited files are written. What is not said here is found from the first rows, where that is certain."""

    delimiter: Character | None = described(None, "The character between two cells, such as `;`, `|` or a tab.")
    quote: CharacterOrNone | None = described(
        None, 'The character around a cell. The empty text "" means that quotes are text.'
    )
    escape: CharacterOrNone | None = described(
        None, "The character before a quote that is text: a backslash, or the quote itself where it is doubled."
    )
    encoding: Annotated[Text, AfterValidator(_check_encoding)] | None = described(
        None, "The encoding of the file, such as cp1252. UTF-8, and encodings with a byte order mark, are found."
    )
    header: Boolean = described(
        True, "Whether the first row holds the names of the columns; otherwise they are column_1, column_2 and so on."
    )

    @model_validator(mode="after")
    def _differ(self) -> "Csv":
        if self.delimiter is not None and self.delimiter in (self.quote, self.escape):
            raise ValueError("delimiter, quote and escape are different characters")
        return self


_KNOWN = "sqlite:///rows.db or postgresql://user@host:5432/name"
_PASSWORDS = ("password", "sslpassword")


def _check_database(url: str) -> str:
    """Accept a URL of a known database. A message never quotes it, because it may hold a password."""
    try:
        parts = urlsplit(url)
        has_password = parts.password is not None or any(name in parse_qs(parts.query) for name in _PASSWORDS)
    except ValueError:
        raise ValueError(f"is not a URL of a database; write {_KNOWN}") from None
    if has_password:
        raise ValueError("holds a password; leave it out, and set the environment variable PGPASSWORD")
    if parts.scheme == "sqlite":
        if parts.netloc or len(parts.path) < 2:
            raise ValueError("names no file; write sqlite:///rows.db, or sqlite:////data/rows.db for an absolute path")
        if parts.query or parts.fragment:
            raise ValueError("takes no options; SQLite files are opened read-only")
    elif parts.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"is not a database that embedstep reads; write {_KNOWN}")
    return url


DatabaseUrl = Annotated[Text, AfterValidator(_check_database)]


class RowSource(ShortSection):
    """A function of another package that makes all rows. A plain string is short for `{kind: ...}`."""

    kind: Text = described(..., "Name of the function: an entry point, or package.module:Name.")
    options: Options = described({}, "Options of the function as its author declares them.")


class Beir(ShortSection):
    """A BEIR dataset: a folder, or its three files. A plain string is short for `{folder: ...}`."""

    folder: Text | None = described(
        None, "Folder or fsspec URL with corpus.jsonl, queries.jsonl (or .jsonl.gz, .parquet) and qrels/<split>.tsv."
    )
    queries: Text | None = described(None, "File with the columns _id and text.")
    corpus: Text | None = described(None, "File with the columns _id and text, and title if there is one.")
    qrels: Text | None = described(None, "File with the columns query-id, corpus-id and score.")

    @model_validator(mode="after")
    def _one_form(self) -> "Beir":
        files = sum(file is not None for file in (self.queries, self.corpus, self.qrels))
        if files != (3 if self.folder is None else 0):
            raise ValueError("name a folder, or each of queries, corpus and qrels")
        return self

    def check_split(self, split: str | None) -> None:
        """Raise a ValueError if a folder comes without a split, or files with one."""
        if self.folder is not None and split is None:
            raise ValueError("name the split of the BEIR folder, such as split: train")
        if self.folder is None and split is not None:
            raise ValueError("split belongs to a BEIR folder; qrels names the file of one split")


class Corpus(ShortSection):
    """Documents to search. A plain string is short for `{path: ...}`."""

    path: OneOrMore = described(..., "File, folder, glob or fsspec URL, or a list of these.")
    column: Text | None = described(None, "Column with the documents; by default that of the positive.")
