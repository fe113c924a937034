"""Plain text: one text on each line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from embedstep.data.facts import DatasetFacts

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]
Texts = Callable[..., list[tuple[str, ...]]]


def test_each_line_is_a_text(texts: Texts) -> None:
    Path("a.txt").write_bytes('one, "two"\r\n\n  \n\tthree \u2028 x\x85\rfour'.encode())
    assert texts("a.txt", anchor="text") == [('one, "two"',), ("\tthree \u2028 x\x85",), ("four",)]


def test_more_lines_than_a_batch_are_read(read: Read) -> None:
    Path("a.txt").write_text("".join(f"line {number}\n" for number in range(20_000)))
    assert read("a.txt", anchor="text", positive="text").rows == 20_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark_are_found(texts: Texts, encoding: str) -> None:
    Path("a.txt").write_text("é\nx\n", encoding=encoding)
    assert texts("a.txt", anchor="text") == [("é",), ("x",)]


def test_another_encoding_is_named_by_the_request(texts: Texts, refusal: Refusal) -> None:
    Path("a.txt").write_text("é\n", encoding="cp1252")
    assert texts("a.txt", csv={"encoding": "cp1252"}, anchor="text") == [("é",)]
    (problem,) = refusal("a.txt", anchor="text")
    assert problem.endswith("; if it has another encoding, write that, such as csv: {encoding: cp1252}")


def test_a_text_file_with_a_delimiter_is_a_table(texts: Texts, refusal: Refusal) -> None:
    Path("a.txt").write_text("q;a\nx;y\n")
    assert texts("a.txt", csv={"delimiter": ";"}, anchor="q", positive="a") == [("x", "y")]
    assert refusal("a.txt", csv={"quote": "", "header": False}, anchor="text") == [
        "data.train.docs.csv: a.txt is plain text, one text on each line; name the delimiter, or remove header, quote"
    ]


def test_there_is_one_column(refusal: Refusal) -> None:
    Path("a.txt").write_text("x\n")
    assert refusal("a.txt", anchor="q") == [
        "data.train.docs.columns.anchor: a.txt has no column 'q'; its columns are text"
    ]
