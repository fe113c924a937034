"""Find how a delimited file is written, from its first rows and the columns that are asked for.

A format fits if every cell follows it, every row has as many cells as the first one, and the columns are there. Plain
CSV is taken if it fits. Otherwise exactly one format may fit: a guess is never taken for the best of several.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from embedstep.data.delimited import CsvFormat, MalformedCellError, cell_text, split_cells, whole_records
from embedstep.data.encodings import UTF8
from embedstep.request.sources import Csv

_DELIMITERS = (",", ";", "\t", "|")
_QUOTING = (('"', '"'), ('"', "\\"), ("'", "'"), ("", ""))
"""Quote and escape, from the most to the least common."""
_SHOWN_FORMATS = 3


class UncertainFormatError(ValueError):
    """Several formats fit.

    Attributes:
        formats: those that do.
    """

    def __init__(self, formats: Sequence[CsvFormat]) -> None:
        super().__init__(formats)
        self.formats = formats


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    """A format that fits, and the texts of the first rows in it."""

    format: CsvFormat
    rows: list[list[bytes]]

    def has(self, columns: Collection[str]) -> bool:
        return set(columns) <= set(column_names(self.rows[0], self.format))


def column_names(first: Sequence[bytes], written: CsvFormat) -> list[str]:
    """Return the names of the columns by the texts of the first row: those of the header, or `column_1` and so on."""
    if written.header:
        return [text.decode(errors="replace") for text in first]
    return [f"column_{number}" for number in range(1, len(first) + 1)]


def unsaid(written: CsvFormat, plain: CsvFormat, given: Csv) -> str:
    """Return what differs from a plain file and is not in the request, as a request says it; empty if nothing does."""
    usual = {"delimiter": plain.delimiter, "quote": '"', "escape": written.quote, "encoding": UTF8}
    different = {
        name: getattr(written, name)
        for name, value in usual.items()
        if getattr(given, name) is None and getattr(written, name) != value
    }
    if not different:
        return ""
    return f"csv: {{{', '.join(f'{name}: {_quoted(value)}' for name, value in different.items())}}}"


def _quoted(value: str) -> str:
    return value if len(value) > 1 else json.dumps(value)


def sniff(sample: bytes, columns: Collection[str] | None, plain: CsvFormat, given: Csv, *, is_cut: bool) -> CsvFormat:
    """Return how a file is written, or `plain` if nothing fits, which the reader will then refuse with the row.

    Args:
        sample: the beginning of the file as UTF-8.
        columns: the columns that are read; None if it has to be found which there are.
        plain: the format of a plain file with its extension and encoding.
        given: what the request says of the format.
        is_cut: the file is longer than the sample.

    Raises:
        UncertainFormatError: several formats fit, and give different texts.
    """
    fits: list[_Fit] = []
    candidates = _candidates(plain, given)
    for same_delimiter in candidates:
        found = next((fit for one in same_delimiter if (fit := _fit(sample, one, given, is_cut=is_cut))), None)
        if found is None:
            continue
        fits.append(found)
        if columns is None and len(found.rows[0]) > 1:
            return found.format
        if columns is None or not found.has(columns):
            continue
        for other in _other_escapes(found.format, same_delimiter):
            fit = _fit(sample, other, given, is_cut=is_cut)
            if fit is not None and fit.rows != found.rows:
                raise UncertainFormatError([found.format, other])
        if found.format == candidates[0][0]:
            return found.format
    asked = [fit for fit in fits if columns is not None and fit.has(columns)]
    if len({str(fit.rows) for fit in asked}) > 1:
        raise UncertainFormatError([fit.format for fit in asked[:_SHOWN_FORMATS]])
    if asked:
        return asked[0].format
    # Without the columns, the table with the most is shown to the user, who has mistyped a name.
    widest = max(fits, key=lambda fit: len(fit.rows[0]), default=None)
    return widest.format if widest is not None and len(widest.rows[0]) > 1 else candidates[0][0]


def _candidates(plain: CsvFormat, given: Csv) -> list[list[CsvFormat]]:
    """Return the formats that agree with the request, by delimiter; that of the extension comes first."""
    delimiters = [given.delimiter] if given.delimiter else sorted(_DELIMITERS, key=lambda one: one != plain.delimiter)
    return [
        [
            CsvFormat(delimiter=delimiter, quote=quote, escape=escape, encoding=plain.encoding, header=given.header)
            for quote, escape in _quoting(given)
        ]
        for delimiter in delimiters
    ]


def _other_escapes(taken: CsvFormat, candidates: Sequence[CsvFormat]) -> list[CsvFormat]:
    """Return the candidates that differ by the escape alone, with which the quotes end other cells."""
    return [one for one in candidates if one.quote == taken.quote and one != taken]


def _quoting(given: Csv) -> Iterator[tuple[str, str]]:
    if given.quote is None and given.escape is None:
        yield from _QUOTING
    elif given.quote is None:
        yield '"', str(given.escape)
    elif given.escape is not None or not given.quote:
        yield given.quote, given.escape or ""
    else:
        yield from ((given.quote, given.quote), (given.quote, "\\"))


def _fit(sample: bytes, candidate: CsvFormat, given: Csv, *, is_cut: bool) -> _Fit | None:
    cells: list[list[bytes]] = []
    try:
        for records in whole_records([sample], candidate, is_cut=is_cut):
            cells.extend(split_cells(records, candidate))
    except MalformedCellError:
        return None
    if not cells or {len(row) for row in cells} != {len(cells[0])}:
        return None
    if given.quote is None and not _is_likely(candidate, cells):
        return None
    return _Fit(format=candidate, rows=[[cell_text(cell, candidate) for cell in row] for row in cells])


def _is_likely(candidate: CsvFormat, rows: Sequence[Sequence[bytes]]) -> bool:
    """Whether the cells speak for the quote of a candidate.

    Single quotes need a cell in them, and none that begins with a double quote. That quotes are text is likely where
    each cell that begins with one has a second one before its end, as in `"Hello" she said`. One that ends with a
    quote, or has doubled ones, was written in quotes, and one without a second is cut off.
    """
    cells = [cell for row in rows for cell in row]
    begun = [cell for cell in cells if cell.startswith(b'"')]
    match candidate.quote:
        case "'":
            return any(cell.startswith(b"'") for cell in cells) and not any(len(cell) > 1 for cell in begun)
        case "":
            return not any(cell.endswith(b'"') or cell.count(b'"') < 2 or b'""' in cell for cell in begun)
        case _:
            return True
