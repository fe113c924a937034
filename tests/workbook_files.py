"""Write workbooks as Excel and LibreOffice do, as far as a reader looks: cells of numbers, texts, dates and errors."""

import datetime
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from embedstep.data.formula_errors import cell_name

Cell = str | float | bool | datetime.date | None
Rows = Sequence[Sequence[Cell]]

_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_FIRST_DAY = datetime.date(1899, 12, 30)


class Failed(str):
    """A cell whose formula failed, such as #DIV/0!."""

    __slots__ = ()


def write_xlsx(file: Path, sheets: Mapping[str, Rows]) -> None:
    """Write an Excel workbook; None is an empty cell."""
    numbers = range(1, len(sheets) + 1)
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"/>'
        for number, name in zip(numbers, sheets, strict=True)
    )
    related = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in numbers
    )
    styles = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs>'
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'{_XML}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>'
            '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.'
            'spreadsheetml.sheet.main+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
            f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{related}<Relationship Id="rIdS" '
            f'Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
        )
        archive.writestr("xl/styles.xml", f'{_XML}<styleSheet xmlns="{_MAIN}">{styles}</styleSheet>')
        for number, rows in zip(numbers, sheets.values(), strict=True):
            filled = ((row, cells) for row, cells in enumerate(rows, start=1) if any(map(_is_there, cells)))
            data = "".join(_xlsx_row(row, cells) for row, cells in filled)
            archive.writestr(
                f"xl/worksheets/sheet{number}.xml",
                f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>{data}</sheetData></worksheet>',
            )


def _is_there(cell: Cell) -> bool:
    return cell is not None


def _xlsx_row(row: int, cells: Sequence[Cell]) -> str:
    shown = (_xlsx_cell(cell_name(row, column), cell) for column, cell in enumerate(cells) if cell is not None)
    return f'<row r="{row}">{"".join(shown)}</row>'


def _xlsx_cell(name: str, cell: Cell) -> str:
    match cell:
        case Failed():
            return f'<c r="{name}" t="e"><f>1/0</f><v>{cell}</v></c>'
        case str():
            return f'<c r="{name}" t="inlineStr"><is><t xml:space="preserve">{escape(cell)}</t></is></c>'
        case bool():
            return f'<c r="{name}" t="b"><v>{int(cell)}</v></c>'
        case datetime.date():
            return f'<c r="{name}" s="1"><v>{(cell - _FIRST_DAY).days}</v></c>'
        case _:
            return f'<c r="{name}"><v>{cell!r}</v></c>'


_ODS = "urn:oasis:names:tc:opendocument:xmlns"
_SPACES = (
    f'xmlns:office="{_ODS}:office:1.0" xmlns:table="{_ODS}:table:1.0" xmlns:text="{_ODS}:text:1.0" '
    'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
)


def write_ods(file: Path, sheets: Mapping[str, Rows]) -> None:
    """Write a workbook of LibreOffice; None is an empty cell."""
    tables = "".join(
        f'<table:table table:name="{escape(name)}">{"".join(map(_ods_row, rows))}</table:table>'
        for name, rows in sheets.items()
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml",
            f'{_XML}<manifest:manifest xmlns:manifest="{_ODS}:manifest:1.0"><manifest:file-entry '
            'manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/>'
            "</manifest:manifest>",
        )
        archive.writestr(
            "content.xml",
            f"{_XML}<office:document-content {_SPACES}><office:body><office:spreadsheet>{tables}</office:spreadsheet>"
            "</office:body></office:document-content>",
        )


def _ods_row(cells: Sequence[Cell]) -> str:
    if not any(map(_is_there, cells)):
        return '<table:table-row table:number-rows-repeated="1"><table:table-cell/></table:table-row>'
    return f"<table:table-row>{''.join(map(_ods_cell, cells))}</table:table-row>"


def _ods_cell(cell: Cell) -> str:
    match cell:
        case None:
            return '<table:table-cell table:number-columns-repeated="1"/>'
        case Failed():
            kind, shown = 'office:value-type="string" office:string-value="" calcext:value-type="error"', str(cell)
        case str():
            kind, shown = 'office:value-type="string"', escape(cell)
        case bool():
            kind, shown = f'office:value-type="boolean" office:boolean-value="{str(cell).lower()}"', str(cell)
        case datetime.date():
            kind, shown = f'office:value-type="date" office:date-value="{cell.isoformat()}"', cell.isoformat()
        case _:
            kind, shown = f'office:value-type="float" office:value="{cell!r}"', repr(cell)
    return f"<table:table-cell {kind}><text:p>{shown}</text:p></table:table-cell>"
