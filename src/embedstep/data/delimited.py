r"""Delimited text: cells between delimiters, with or without quotes, as bytes of UTF-8.

A cell that is read by the wrong rule is damaged without an error: pyarrow takes text after a closing quote for a part
of the cell, and both pyarrow and DuckDB read `"C:\new"` as `C:new` where a backslash escapes quotes. So every byte of
a file is matched with the grammar of its format here, and pyarrow gets plain CSV only.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from embedstep.data.encodings import UTF8
from embedstep.errors import EmbedstepError

_LONGEST_RECORD = 16 << 20
"""Bytes of a record after which a quote counts as not closed; pyarrow reads no record over two blocks of 8 MiB."""
_LINE_END = rb"(?:\r\n|\n|\r)"


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvFormat:
    """How a delimited file is written.

    Attributes:
        delimiter: one ASCII character between two cells.
        quote: one ASCII character around a cell; empty if quotes are text.
        escape: what stands before a quote that is text: the quote itself if it is doubled; empty for nothing.
        encoding: name of Python's codec.
        header: whether the first row has the names of the columns.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    encoding: str = UTF8
    header: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether only the delimiter and the encoding may differ from RFC 4180."""
        return self.quote == self.escape == '"'


class MalformedCellError(EmbedstepError):
    """A cell does not follow the file's format. Never raised outside this package.

    Attributes:
        reason: what is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grammar:
    """The patterns of a format.

    Attributes:
        records: as many whole records as there are.
        cell: a cell, and the delimiter or line end after it.
        change: a run of cells that plain CSV has in the same form, or else one cell and what ends it.
        text_after_quote: the beginning of a record up to a cell with text after its closing quote.
    """

    records: re.Pattern[bytes]
    cell: re.Pattern[bytes]
    change: re.Pattern[bytes]
    text_after_quote: re.Pattern[bytes] | None


@cache
def _grammar(delimiter: str, quote: str, escape: str) -> _Grammar:
    # Possessive quantifiers: what has matched is never tried again, so the time is linear whatever the file holds.
    d, q, e = (re.escape(character).encode() for character in (delimiter, quote, escape))
    if not quote:
        plain = rb"(?:[^" + d + rb"\r\n" + e + rb"]" + (rb"|" + e + rb"(?:\r\n|.)" if e else b"") + rb")*+"
        cell, quoted = plain, None
    else:
        text = b"[^" + q + b"]*+" if e == q else b"[^" + q + e + b"]*+"
        escaped = q + q if e == q else e + b"."
        spaces = rb"[ ]*+" if delimiter != " " else b""  # as some write them before the delimiter
        quoted = q + text + rb"(?:" + (escaped if e else b"(?!)") + text + rb")*+" + q
        outside = rb"[^" + d + rb"\r\n"
        cell = b"(?:" + quoted + spaces + rb"(?=[" + d + rb"\r\n])|" + outside + q + b"]" + outside + b"]*+|)"
        quoted += spaces + outside + (b" " if spaces else b"") + b"]"
    ends = b"(?:" + d + b"|" + _LINE_END + b")"
    same = rb'[^"' + d + rb"\r\n" + q + e + rb"][^" + d + rb"\r\n" + (b"" if quote else e) + rb"]*+|"
    if quote == '"' != escape:
        same = rb'"[^"' + e + rb']*+"|' + same
    record = cell + b"(?:" + d + cell + b")*+" + _LINE_END
    after = rb"(?:" + cell + d + b")*+" + quoted if quoted else None
    return _Grammar(
        records=re.compile(b"(?:" + record + b")*+", re.DOTALL),
        cell=re.compile(b"(" + cell + b")(" + ends + b")", re.DOTALL),
        change=re.compile(b"(?:(?:" + same + b")" + ends + b")++|(" + cell + b")(" + ends + b")", re.DOTALL),
        text_after_quote=re.compile(after, re.DOTALL) if after else None,
    )


def _grammar_of(written: CsvFormat) -> _Grammar:
    return _grammar(written.delimiter, written.quote, written.escape)


def whole_records(blocks: Iterable[bytes], written: CsvFormat, *, is_cut: bool = False) -> Iterator[bytes]:
    """Yield the bytes of a file in parts of whole records, each of which follows the format.

    Args:
        blocks: the file as UTF-8.
        written: its format.
        is_cut: the blocks are the beginning of a file, whose last record may be incomplete and is left out.

    Raises:
        MalformedCellError: a cell does not follow the format; all records before it have been yielded.
    """
    grammar = _grammar_of(written)
    rest = b""
    for block in blocks:
        data = rest + block
        end = _end_of_records(grammar, data, written.quote)
        if end:
            yield data[:end]
        rest = data[end:]
        _refuse_malformed(grammar, rest, written)
    if rest and not is_cut:
        data = rest + b"\n"
        if _end_of_records(grammar, data, written.quote) < len(data):
            _refuse_malformed(grammar, data, written)
            raise MalformedCellError(_unended(written))
        yield data


def _end_of_records(grammar: _Grammar, data: bytes, quote: str) -> int:
    if quote and quote.encode() not in data:
        return data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1
    found = grammar.records.match(data)
    return found.end() if found else 0


def _refuse_malformed(grammar: _Grammar, rest: bytes, written: CsvFormat) -> None:
    if grammar.text_after_quote is not None and grammar.text_after_quote.match(rest):
        raise MalformedCellError(f"text after the closing {written.quote} of a cell")
    if len(rest) > _LONGEST_RECORD:
        raise MalformedCellError(f"more than {_LONGEST_RECORD >> 20} MiB, or {_unended(written)}")


def _unended(written: CsvFormat) -> str:
    return f"a cell whose {written.quote} is not closed" if written.quote else f"a {written.escape} at its end"


def split_cells(records: bytes, written: CsvFormat) -> Iterator[list[bytes]]:
    """Yield the cells of each record as they stand in the file; blank lines are left out.

    Args:
        records: whole records.
        written: their format.
    """
    delimiter = written.delimiter.encode()
    cells: list[bytes] = []
    for cell, end in _grammar_of(written).cell.findall(records):
        cells.append(cell)
        if end != delimiter:
            if cells != [b""]:
                yield cells
            cells = []


def cell_text(cell: bytes, written: CsvFormat) -> bytes:
    r"""Return the text of a cell as it stands in the file, without its quotes.

    An escape character counts before a quote or another escape character, and is text elsewhere, as in `C:\new`.
    """
    quote, escape = written.quote.encode(), written.escape.encode()
    if not quote:
        known = re.escape(written.delimiter.encode() + escape) + rb'"\r\n'
        return re.sub(re.escape(escape) + rb"(\r\n|[" + known + rb"])", rb"\1", cell) if escape else cell
    if not cell.startswith(quote):
        return cell
    end = cell.rindex(quote)
    text = cell[1:end]
    if escape == quote:
        text = text.replace(quote * 2, quote)
    elif escape:
        text = re.sub(re.escape(escape) + b"([" + re.escape(quote + escape) + b"])", rb"\1", text)
    return text + cell[end + 1 :]


def plain_blocks(blocks: Iterable[bytes], written: CsvFormat) -> Iterator[bytes]:
    """Yield a file as plain CSV: with its own delimiter, in quotes that are doubled in a cell.

    A file that is plain already is checked and passed unchanged.

    Raises:
        MalformedCellError: a cell does not follow the format.
    """
    for records in whole_records(blocks, written):
        yield records if written.is_plain else _plain(records, written)


def _plain(records: bytes, written: CsvFormat) -> bytes:
    special = re.compile(b'["\r\n' + re.escape(written.delimiter.encode()) + b"]")
    quote = written.quote.encode()

    def rewrite(found: re.Match[bytes]) -> bytes:
        cell, end = found.groups()
        if cell is None:
            return found[0]
        text = cell_text(cell, written)
        if special.search(text) or (quote and cell.startswith(quote)):
            return b'"' + text.replace(b'"', b'""') + b'"' + end
        return text + end

    return _grammar_of(written).change.sub(rewrite, records)


def malformed_row(blocks: Iterable[bytes], written: CsvFormat) -> int:
    """Return the number of the first record that does not follow the format, from 1 without the header."""
    records = 0
    try:
        for part in whole_records(blocks, written):
            records += sum(1 for _ in split_cells(part, written))
    except MalformedCellError:
        pass
    return records + (0 if written.header else 1)
