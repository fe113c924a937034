"""Find the cells whose formula failed, such as #DIV/0!: the reader of workbooks gives them as empty cells.

This is possible for .xlsx and .ods, whose sheets are XML. In .xls and .xlsb they stay empty cells.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, Any
from xml.etree import ElementTree

_XLSX_MARK, _ODS_MARK = b't="e"', b'value-type="error"'
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"

Cells = dict[tuple[int, int], str]
"""What a cell shows, by its row, from 1, and its column, from 0."""


def find_formula_errors(data: bytes, sheet: str) -> Cells:
    """Return the cells of a sheet whose formula failed, in the order of rows.

    Args:
        data: the workbook; without XML in it nothing is found.
        sheet: name of the sheet.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return {}
    # The reader of workbooks has accepted the file; what it makes up for is not to be refused here.
    with suppress(zipfile.BadZipFile, ElementTree.ParseError), zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        if "content.xml" in names:
            found, part, mark = _ods_errors, "content.xml", _ODS_MARK
        else:
            found, part, mark = _xlsx_errors, _xlsx_part(archive, sheet), _XLSX_MARK
        # Most sheets have no such cell, and the search for the mark is many times faster than the parser.
        if part not in names or mark not in archive.read(part):
            return {}
        with archive.open(part) as source:
            return dict(found(source, sheet))
    return {}


def cell_name(row: int, column: int) -> str:
    """Return the name of a cell, such as B3.

    Args:
        row: its row, from 1.
        column: its column, from 0.
    """
    letters, rest = "", column + 1
    while rest:
        rest, digit = divmod(rest - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return f"{letters}{row}"


def _xlsx_part(archive: zipfile.ZipFile, sheet: str) -> str:
    """Return the file of a sheet in the archive; empty if it is not found."""
    try:
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    except KeyError:
        return ""
    wanted = [one.get(_RELATION) for one in book.iter() if _tag(one) == "sheet" and one.get("name") == sheet]
    targets = {one.get("Id"): one.get("Target") or "" for one in relations}
    target = targets.get(wanted[0], "") if wanted else ""
    return target.lstrip("/") if target.startswith("/") else f"xl/{target}"


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _attributes(element: Any) -> Mapping[str, str]:
    return {name.rpartition("}")[2]: value for name, value in element.attrib.items()}


def _xlsx_errors(source: IO[bytes], sheet: str) -> Iterator[tuple[tuple[int, int], str]]:
    row = column = 0
    for event, element in ElementTree.iterparse(source, ["start", "end"]):
        tag = _tag(element)
        if tag == "row" and event == "start":
            row, column = int(element.get("r") or row + 1), 0
        elif tag == "c" and event == "end":
            name = re.fullmatch(r"([A-Z]+)\d+", element.get("r") or "")
            here = _column(name[1]) if name else column
            column = here + 1
            if element.get("t") == "e":
                yield (row, here), next((one.text or "" for one in element if _tag(one) == "v"), "")
        elif tag == "row":
            element.clear()


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1


def _ods_errors(source: IO[bytes], sheet: str) -> Iterator[tuple[tuple[int, int], str]]:
    table, row, column, repeated = None, 0, 0, 0
    for event, element in ElementTree.iterparse(source, ["start", "end"]):
        tag, given = _tag(element), _attributes(element)
        if tag == "table" and event == "start":
            table, row, repeated = given.get("name"), 0, 1
        elif tag == "table-row" and event == "start":
            row, column, repeated = row + repeated, 0, int(given.get("number-rows-repeated", 1))
        elif tag in ("table-cell", "covered-table-cell") and event == "end":
            if table == sheet and element.get(_ODS_TYPE) == "error":
                yield (row, column), "".join(element.itertext()).strip()
            column += int(given.get("number-columns-repeated", 1))
        elif tag == "table-row":
            element.clear()


_ODS_TYPE = "{urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0}value-type"
