r"""Delimited files as people have them: read as they were written, or refused with what to write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from embedstep.data.delimited import CsvFormat
from embedstep.data.facts import DatasetFacts
from embedstep.errors import InvalidRequestError
from tests.data.test_delimited import write

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]
Texts = Callable[..., list[tuple[Any, ...]]]
BOTH = {"anchor": "q", "positive": "a"}
QUOTED = 'q,a\n"press \\"how to…?\\" now","yes"\nplain,no\n'
UTF16 = "q,a\nwhat is é?,é\n"
CASES: dict[str, tuple[bytes, list[tuple[str, ...]], str]] = {
    # Backslashes before quotes, as Spark writes them.
    "escape": (QUOTED.encode(), [('press "how to…?" now', "yes"), ("plain", "no")], 'csv: {escape: "\\\\"}'),
    "escape and comma": (b'q,a\n"say \\"a, b\\"",x\n', [('say "a, b"', "x")], 'csv: {escape: "\\\\"}'),
    "escaped escape": (
        b'q,a\n"C:\\new \\"x\\" \\\\",y\n', [('C:\\new "x" \\', "y")], 'csv: {escape: "\\\\"}',
    ),
    # Other delimiters and quotes.
    "semicolon": (b'q;a\n"x; y";z, w\n', [("x; y", "z, w")], 'csv: {delimiter: ";"}'),
    "tab": (b"q\ta\nx, y\tz\n", [("x, y", "z")], 'csv: {delimiter: "\\t"}'),
    "single quotes": (b"q,a\n'it''s, so',x \"y\"\n", [("it's, so", 'x "y"')], 'csv: {quote: "\'"}'),
    # Other encodings.
    "utf-16": (UTF16.encode("utf-16"), [("what is é?", "é")], "csv: {encoding: utf-16}"),
    "utf-16 and semicolon": (
        UTF16.replace(",", ";").encode("utf-16"), [("what is é?", "é")], 'csv: {delimiter: ";", encoding: utf-16}',
    ),
    "utf-32": (UTF16.encode("utf-32"), [("what is é?", "é")], "csv: {encoding: utf-32}"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_file_of_another_format_is_read_as_it_was_written(read: Read, texts: Texts, case: str) -> None:
    raw, rows, shown = CASES[case]
    Path("a.csv").write_bytes(raw)
    assert texts("a.csv", **BOTH) == rows
    assert read("a.csv", **BOTH).unsaid_formats == {"a.csv": shown}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            UTF16.encode("cp1252"),
            "a.csv cannot be read as csv: In CSV column #0: row 1: CSV conversion error to string: invalid UTF8 data; "
            "if it has another encoding, write that, such as csv: {encoding: cp1252}",
        ),
        (
            UTF16.encode("utf-16-le"),
            "a.csv seems to be UTF-16 without a byte order mark; write csv: {encoding: utf-16-le}",
        ),
        (
            UTF16.encode("utf-16-be"),
            "a.csv seems to be UTF-16 without a byte order mark; write csv: {encoding: utf-16-be}",
        ),
        (
            b'q,a\n"x" y,"z"\n',
            'a.csv cannot be read as csv: row 1 has text after the closing " of a cell; write csv: {escape: "\\\\"} if '
            'a backslash stands before quotes in a cell, or csv: {quote: ""} if quotes are text',
        ),
        (
            b"q,a\n" + b"x,y\n" * 90_000 + QUOTED.encode()[4:],  # behind the rows that are sniffed
            'a.csv cannot be read as csv: row 90,001 has text after the closing " of a cell; write csv: {escape: '
            '"\\\\"} if a backslash stands before quotes in a cell, or csv: {quote: ""} if quotes are text',
        ),
        (
            b"a;q;x|q|a\n1;2;3|4|5\n",
            'a.csv can be read in several ways; write csv: {delimiter: ";"} or csv: {delimiter: "|"}',
        ),
    ],
)
def test_a_file_whose_format_is_not_certain_is_refused_with_what_to_write(
    refusal: Refusal, raw: bytes, message: str
) -> None:
    Path("a.csv").write_bytes(raw)
    (problem,) = refusal("a.csv", **BOTH)
    assert problem.startswith(f"data.train.docs.path: {message}")


@pytest.mark.parametrize(
    ("raw", "said", "rows"),
    [
        (UTF16.encode("cp1252"), {"encoding": "cp1252"}, [("what is é?", "é")]),
        (UTF16.encode("utf-16-le"), {"encoding": "utf-16-le"}, [("what is é?", "é")]),
        (b'q,a\n"x" y,"z"\n', {"quote": ""}, [('"x" y', '"z"')]),
        (b"q,a\nx\\, y,z\n", {"quote": "", "escape": "\\"}, [("x, y", "z")]),
        (b"q:a\nx:y\n", {"delimiter": ":"}, [("x", "y")]),
        (b"q\ta\nx\ty\n", {"delimiter": "\\t"}, [("x", "y")]),
        (b"q,a\n'x','y'\n", {"quote": "'"}, [("x", "y")]),
    ],
)
def test_what_a_request_says_of_a_file_is_taken(
    read: Read, texts: Texts, raw: bytes, said: dict[str, str], rows: list[tuple[str, ...]]
) -> None:
    Path("a.csv").write_bytes(raw)
    assert texts("a.csv", csv=said, **BOTH) == rows
    assert read("a.csv", csv=said, **BOTH).unsaid_formats == {}


@pytest.mark.parametrize(("text", "delimiter"), [("1,x\n2,y\n", ","), ("1;x\n2;y", ";"), ('"1"\t"x"\n2\ty\n', "\t")])
def test_columns_of_a_file_without_a_header_are_numbered(texts: Texts, text: str, delimiter: str) -> None:
    Path("a.csv").write_text(text)
    said = {"header": False, "delimiter": delimiter}
    assert texts("a.csv", csv=said, anchor="column_2", label="column_1") == [("x", 1), ("y", 2)]


def test_rows_of_a_file_without_a_header_are_counted_from_the_first(refusal: Refusal) -> None:
    Path("a.csv").write_text('x,y\n"a"b,"c"\n')
    (problem,) = refusal("a.csv", csv={"header": False}, anchor="column_1")
    assert problem.startswith('data.train.docs.path: a.csv cannot be read as csv: row 2 has text after the closing "')


@pytest.mark.parametrize(("header", "row"), [(True, 30_001), (False, 30_002)])
def test_a_wrong_cell_behind_the_first_part_is_named_by_its_row(refusal: Refusal, header: bool, row: int) -> None:
    Path("a.csv").write_text("q,1\n" + f"{'long ' * 60},1\n" * 30_000 + "x,high\n")
    columns = {"anchor": "q", "label": "1"} if header else {"anchor": "column_1", "label": "column_2"}
    (problem,) = refusal("a.csv", csv={"header": header}, **columns)
    assert problem.endswith(f"In CSV column #1: row {row}: CSV conversion error to double: invalid value 'high'")


def test_a_cell_of_ten_megabytes_is_read(texts: Texts) -> None:
    Path("a.csv").write_text(f'q,a\nx,y\n"{"long, " * 2_000_000}",z\nw,v\n')
    assert [(len(query), answer) for query, answer in texts("a.csv", **BOTH)] == [(1, "y"), (12_000_000, "z"), (1, "v")]


def test_each_file_has_its_own_format(read: Read) -> None:
    Path("a.csv").write_text("q,a\nx,y\n")
    Path("b.csv").write_text("q;a\nz;w\n")
    Path("c.csv").write_text("q,a\nx,y\nz,w\n")
    facts = read(["a.csv", "b.csv"], **BOTH)
    assert facts.unsaid_formats == {"b.csv": 'csv: {delimiter: ";"}'}
    assert facts.fingerprint == read("c.csv", **BOTH).fingerprint


def test_a_file_behind_a_url_is_sniffed_too(read: Read) -> None:
    fsspec.filesystem("memory").pipe_file("/rows.csv", b"q;a\nx;y\n")
    assert read("memory://rows.csv", **BOTH).unsaid_formats == {"memory:///rows.csv": 'csv: {delimiter: ";"}'}


def test_numbers_of_another_format_are_numbers(read: Read) -> None:
    Path("a.csv").write_text('q;s\n"x \\"y\\"";1\n' + "x;1\n" * 30_000 + "z;0.5\n")
    assert read("a.csv", anchor="q", label="s").columns == {"anchor": "text", "label": "number"}


cells = st.text(st.sampled_from("a ,;\t|\"'\né"), min_size=1, max_size=6).filter(lambda text: not text.isspace())
tables = st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example([['"', "|;"]], "|", "\\", "utf-8")
@example([['"', ",;"]], ",", "\\", "utf-8")
@given(tables, st.sampled_from(",;\t|"), st.sampled_from(['"', "\\"]), st.sampled_from(["utf-8", "utf-16"]))
def test_a_text_is_never_damaged_in_silence(
    texts: Texts, rows: list[list[str]], delimiter: str, escape: str, encoding: str
) -> None:
    text = write([["q", "a"], *rows], CsvFormat(delimiter=delimiter, escape=escape))
    Path("a.csv").write_bytes(text.encode(encoding))
    try:
        found = texts("a.csv", **BOTH)
    except InvalidRequestError:
        return
    assert found == [tuple(row) for row in rows]
