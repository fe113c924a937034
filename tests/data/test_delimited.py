r"""The grammar of delimited text: what follows it is read as it was written, and what does not is refused."""

import csv
import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.delimited import (
    CsvFormat,
    MalformedCellError,
    cell_text,
    malformed_row,
    plain_blocks,
    split_cells,
    whole_records,
)

PLAIN = CsvFormat()
SPARK = CsvFormat(escape="\\")
SINGLE = CsvFormat(quote="'", escape="'")
NO_QUOTES = CsvFormat(quote="", escape="")
ESCAPED = CsvFormat(quote="", escape="\\")

cells = st.text(st.sampled_from("a b,;\t|\"'\\\n\ré"), max_size=6)
tables = st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=4)


def write(rows: Sequence[Sequence[str]], to: CsvFormat) -> str:
    """Write rows as Spark does: in quotes where it is needed, with an escape before a quote and an escape there."""

    def cell(text: str) -> str:
        if text and not set(text) & set(f"{to.delimiter}{to.quote}\r\n ") and text[0] not in "\"'":
            return text
        escaped = text.replace(to.escape, to.escape * 2) if to.escape != to.quote else text
        return to.quote + escaped.replace(to.quote, to.escape + to.quote) + to.quote

    return "".join(to.delimiter.join(map(cell, row)) + "\n" for row in rows)


def read(text: bytes, written: CsvFormat, size: int = 1 << 20) -> list[list[str]]:
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    plain = b"".join(plain_blocks(blocks, written)).decode()
    # The standard library would take \r within a line of an io.StringIO for a line's end.
    return [row for row in csv.reader(io.StringIO(plain, newline=""), delimiter=written.delimiter) if row]


@given(tables, st.sampled_from(",;\t|"), st.sampled_from([('"', '"'), ('"', "\\"), ("'", "'"), ("'", "\\")]))
def test_what_is_written_is_read_back(rows: list[list[str]], delimiter: str, quoting: tuple[str, str]) -> None:
    written = CsvFormat(delimiter=delimiter, quote=quoting[0], escape=quoting[1])
    text = write(rows, written).encode()
    assert read(text, written) == rows
    assert read(text, written, size=3) == rows
    assert [[cell_text(cell, written).decode() for cell in row] for row in split_cells(text, written)] == rows


@given(tables, st.integers(1, 9))
def test_plain_files_pass_unchanged(rows: list[list[str]], size: int) -> None:
    text = write(rows, PLAIN).encode()
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    assert b"".join(plain_blocks(blocks, PLAIN)) == text


@pytest.mark.parametrize(
    ("text", "written", "row"),
    [
        ('"a"b,c', PLAIN, None),
        ('"a" b,c', PLAIN, None),
        ('"a \\"b\\" c",d', PLAIN, None),
        ('"a ,c', PLAIN, None),
        ('"a""b",c', SPARK, None),
        ('"a\\",c', SPARK, None),
        ('"a" ,c', PLAIN, ["a ", "c"]),
        ('5" pipe,6"', PLAIN, ['5" pipe', '6"']),
        (' "a",c', PLAIN, [' "a"', "c"]),
        ('"a""b","c\nd"', PLAIN, ['a"b', "c\nd"]),
        (r'"a \"b\" \\ C:\new",c', SPARK, ['a "b" \\ C:\\new', "c"]),
        (r"C:\new\,c", SPARK, ["C:\\new\\", "c"]),
        ("'it''s, so',\"x\"", SINGLE, ["it's, so", '"x"']),
        ('"a"b,"c', NO_QUOTES, ['"a"b', '"c']),
        (r"a\, b\é,c\\", ESCAPED, ["a, b\\é", "c\\"]),
        ('"",""', PLAIN, ["", ""]),
        (",", PLAIN, ["", ""]),
    ],
)
def test_a_row_is_read_as_its_format_says_or_refused(text: str, written: CsvFormat, row: list[str] | None) -> None:
    for end in ("", "\n", "\r\n", "\r"):
        raw = b"x,y\n\n" + (text + end).encode()
        if row is None:
            assert malformed_row([raw], written) == 1
            with pytest.raises(MalformedCellError):
                list(plain_blocks([raw], written))
        else:
            assert read(raw, written) == [["x", "y"], row]


def test_a_malformed_row_is_counted_without_blank_lines_and_with_line_breaks_in_cells() -> None:
    assert malformed_row([b'x,y\n"a\nb",c\n\n"d"e,f\n'], PLAIN) == 2
    assert malformed_row([b'"a\nb",c\n\n"d"e,f\n'], CsvFormat(header=False)) == 2


def test_a_beginning_may_end_within_a_record() -> None:
    assert list(whole_records([b'x,y\n"a\nb",c\n"d'], PLAIN, is_cut=True)) == [b'x,y\n"a\nb",c\n']


def test_a_quote_that_is_never_closed_does_not_fill_the_memory() -> None:
    blocks = (b'x,y\n"a' if number == 0 else b"a" * (1 << 20) for number in range(1_000))
    with pytest.raises(MalformedCellError, match='more than 16 MiB, or a cell whose " is not closed'):
        list(plain_blocks(blocks, PLAIN))
    assert next(blocks)  # the rest was not read
