r"""How a file is written: plain if that fits, else the one format that does, and never a guess among several."""

import pytest

from embedstep.data.delimited import CsvFormat
from embedstep.data.sniffing import UncertainFormatError, column_names, sniff, unsaid
from embedstep.request.sources import Csv

PLAIN, TAB = CsvFormat(), CsvFormat(delimiter="\t")
COLUMNS = ("q", "a")


def found(text: str, *columns: str, plain: CsvFormat = PLAIN, is_cut: bool = False, **said: object) -> str:
    """Return what the request does not say of the format that fits."""
    given = Csv.model_validate(said)
    return unsaid(sniff(text.encode(), columns or COLUMNS, plain, given, is_cut=is_cut), plain, given)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("q,a\nx,y\n", ""),
        ('q,a\n"x; y","z\n"\n', ""),
        ("q;a\nx, y;z\n", 'csv: {delimiter: ";"}'),
        ("q\ta\nx\ty\n", 'csv: {delimiter: "\\t"}'),
        ("id|q|a\n1|x|y\n", 'csv: {delimiter: "|"}'),
        ('q,a\n"x \\"y\\" z","w"\n', 'csv: {escape: "\\\\"}'),
        ('q,a\n"x \\", y",w\n', 'csv: {escape: "\\\\"}'),
        ('q;a\n"x \\"; y";w\n', 'csv: {delimiter: ";", escape: "\\\\"}'),
        ("q,a\n'x, y',z\n", 'csv: {quote: "\'"}'),
        ("q,a\n'x','y'\n", ""),  # as it has always been read
        ('q,a\n"x" y,z\n', 'csv: {quote: ""}'),
        ('q;a\n"x" y;z\n', 'csv: {delimiter: ";", quote: ""}'),
    ],
)
def test_the_one_format_that_fits_is_found(text: str, shown: str) -> None:
    assert found(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        'q,a\n"x" y,"z"\n',
        'q,a\n"x"" y,z\n',
        "q,a\n\"x\",'y'\n'z, w',v\n",
        'q,a\n"x" y,z\n"w,v\n',
        "q,a\nx\n",
        "q,a\nx,y,z\n",
        "",
        "\n",
    ],
)
def test_a_file_that_nothing_fits_is_left_to_the_reader(text: str) -> None:
    assert found(text) == ""


def test_a_mistyped_column_does_not_hide_the_columns() -> None:
    assert found("q;a;b\nx;y;z\n", "question") == 'csv: {delimiter: ";"}'


def test_formats_that_give_the_same_texts_are_one() -> None:
    assert found("q\nx, y\nz\n", "q") == 'csv: {delimiter: ";"}'
    assert found("q\nx, y; z|\n", "q") == 'csv: {delimiter: "\\t"}'


def test_formats_that_give_different_texts_are_refused() -> None:
    with pytest.raises(UncertainFormatError) as caught:
        found("x;q;y|q|z\n1;2;3|4|5\n", "q")
    assert [one.delimiter for one in caught.value.formats] == [";", "|"]


def test_what_the_request_says_is_not_sniffed() -> None:
    assert found("q;a\nx, y;z\n", delimiter=";") == ""
    assert found('q;a\n"x \\"y\\"";z\n', delimiter=";") == 'csv: {escape: "\\\\"}'
    assert found('q,a\n"x \\"y\\"",z\n', escape="\\") == ""
    assert found('q,a\n"x" y,"z"\n', quote="") == ""
    assert found("q,a\n'x, y',z\n", quote="'") == ""
    assert found("q,a\n'x \\'y',z\n", quote="'") == 'csv: {escape: "\\\\"}'


def test_the_extension_names_the_first_delimiter() -> None:
    assert found("q\ta\nx, y\tz\n", plain=TAB) == ""
    assert found("q,a\nx,y\n", plain=TAB) == 'csv: {delimiter: ","}'


def test_a_row_that_the_sample_cuts_does_not_count() -> None:
    assert found('q;a\nx;y\nz;"w', is_cut=True) == 'csv: {delimiter: ";"}'
    assert found('q;a\nx;y\nz;"w', is_cut=False) == ""


def test_columns_without_a_header_are_numbered() -> None:
    assert column_names([b"x", b"y"], CsvFormat(header=False)) == ["column_1", "column_2"]
    assert found("x;y\nz;w\n", "column_2", header=False) == 'csv: {delimiter: ";"}'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("q,a\nx; y,z; w\n", ""),
        ("q;a\nx, y;z\n", 'csv: {delimiter: ";"}'),
        ("text\nx; y\nz\n", ""),
        ("q\ta\nx\ty\n", 'csv: {delimiter: "\\t"}'),
    ],
)
def test_without_columns_the_first_format_of_a_table_is_found(text: str, shown: str) -> None:
    given = Csv()
    assert unsaid(sniff(text.encode(), None, PLAIN, given, is_cut=False), PLAIN, given) == shown
