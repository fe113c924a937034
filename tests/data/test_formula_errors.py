import io
import zipfile
from pathlib import Path

import pytest

from embedstep.data.formula_errors import cell_name, find_formula_errors
from tests.workbook_files import Failed, write_ods, write_xlsx


@pytest.mark.parametrize(("column", "name"), [(0, "A7"), (25, "Z7"), (26, "AA7"), (701, "ZZ7"), (702, "AAA7")])
def test_cells_have_the_names_of_a_sheet(column: int, name: str) -> None:
    assert cell_name(7, column) == name


@pytest.mark.parametrize("write", [write_xlsx, write_ods])
def test_failed_formulas_of_the_named_sheet_are_found(tmp_path: Path, write: object) -> None:
    assert callable(write)
    rows = [["q", None, Failed("#N/A")], [], [None, None, Failed("#DIV/0!")]]
    write(tmp_path / "a", {"one": rows, "<two>": [["q"], [Failed("#REF!")]], "none": [["q"]]})
    data = (tmp_path / "a").read_bytes()
    assert find_formula_errors(data, "one") == {(1, 2): "#N/A", (3, 2): "#DIV/0!"}
    assert find_formula_errors(data, "<two>") == {(2, 0): "#REF!"}
    assert find_formula_errors(data, "none") == {}


def test_cells_of_excel_may_have_no_names() -> None:
    sheet = '<worksheet><row><c><v>1</v></c><c t="e"><v>#N/A</v></c></row><row/><row><c t="e"/></row></worksheet>'
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    with zipfile.ZipFile(target := io.BytesIO(), "w") as archive:
        archive.writestr("xl/workbook.xml", f'<w xmlns:r="{relation}"><sheet name="one" r:id="a"/></w>')
        archive.writestr("xl/_rels/workbook.xml.rels", '<r><Relationship Id="a" Target="/xl/s.xml"/></r>')
        archive.writestr("xl/s.xml", sheet)
    assert find_formula_errors(target.getvalue(), "one") == {(1, 1): "#N/A", (3, 0): ""}


@pytest.mark.parametrize("data", [b"", b"\xd0\xcf\x11\xe0", b"PK\x03\x04"])
def test_other_files_have_none(data: bytes) -> None:
    assert find_formula_errors(data, "one") == {}
