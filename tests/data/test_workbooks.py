import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedstep.data import workbooks
from embedstep.data.facts import DatasetFacts
from embedstep.data.sources import DataFile
from embedstep.data.stores import LocalStore
from embedstep.data.workbooks import find_sheet, sheet_batches, sheet_schema
from tests.workbook_files import Failed, Rows, write_ods, write_xlsx

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]
Texts = Callable[..., list[tuple[Any, ...]]]
DAY = datetime.date(2026, 11, 2)
WRITERS = {"a.xlsx": write_xlsx, "a.ods": write_ods}
FAQ: Rows = [["q", "a", "score"], ["how to é", "so <&>", 1], ["why", 42, 0.5], [True, "x", 3]]


@pytest.fixture(params=WRITERS)
def book(request: pytest.FixtureRequest) -> str:
    """The name of a workbook: one of Excel's, one of LibreOffice's."""
    return str(request.param)


def write(name: str, sheets: dict[str, Rows] | Rows) -> None:
    WRITERS[name](Path(name), sheets if isinstance(sheets, dict) else {"one": sheets})


def test_a_sheet_is_a_table_below_its_header(book: str, read: Read, texts: Texts) -> None:
    write(book, FAQ)
    found = read(book, anchor="q", positive="a", label="score")
    assert (found.columns, found.label_range) == ({"anchor": "text", "positive": "text", "label": "number"}, (0.5, 3.0))
    assert texts(book, anchor="q", positive="a") == [("how to é", "so <&>"), ("why", "42"), ("TRUE", "x")]


@pytest.mark.parametrize(
    ("cells", "kind", "found"),
    [
        ([1, 2.0], "integer", [1, 2]),
        ([1, 2.5], "number", [1.0, 2.5]),
        ([True, False], "integer", [1, 0]),
        ([float(2**60), 1], "number", [float(2**60), 1.0]),
    ],
)
def test_numbers_without_fractions_are_integers(
    book: str, read: Read, texts: Texts, cells: list[Any], kind: str, found: list[Any]
) -> None:
    write(book, [["q", "label"], *([f"text {number}", cell] for number, cell in enumerate(cells))])
    assert read(book, anchor="q", label="label").columns["label"] == kind
    assert [row[1] for row in texts(book, anchor="q", label="label")] == found


def test_a_table_may_stand_anywhere_and_have_columns_without_a_role(book: str, read: Read, texts: Texts) -> None:
    write(book, [[], [None, None, "q", None, "a", "day"], [None, None, "x", None, "y", DAY]])
    assert texts(book, anchor="q", positive="a") == [("x", "y")]
    assert read(book, anchor="q", positive="a").dropped_columns == ("day",)


def test_rows_are_numbered_as_in_the_sheet(book: str, read: Read, refusal: Refusal) -> None:
    write(book, [[None], ["q", "a"], ["x", "y"], [None, "y"], [], ["z", "y"]])
    fill = "fill the cells, or drop such rows by data.drop_incomplete_rows: true"
    assert refusal(book, anchor="q", positive="a") == [
        f"data.train.docs.columns.anchor: column 'q' of {book} is empty in 2 rows (rows 4, 5); {fill}",
        f"data.train.docs.columns.positive: column 'a' of {book} is empty in 1 row (row 5); {fill}",
    ]
    assert read(book, anchor="q", positive="a", drop=True).dropped_rows == 2


def test_one_of_several_sheets_is_named(book: str, texts: Texts, refusal: Refusal) -> None:
    write(book, {"one": FAQ, "the other": [["q", "a"], ["x", "y"]]})
    assert texts(book, sheet="the other", anchor="q", positive="a") == [("x", "y")]
    assert refusal(book, anchor="q") == [
        f"data.train.docs.sheet: {book} has several sheets; name one of them: 'one', 'the other'"
    ]
    assert refusal(book, sheet="two", anchor="q") == [
        f"data.train.docs.sheet: {book} has no sheet 'two'; its sheets are 'one', 'the other'"
    ]


@pytest.mark.parametrize(
    ("rows", "messages"),
    [
        ([], ["path: {} has nothing in the sheet 'one'"]),
        ([["q", None], ["x", "y"]], ["path: cell B1 of the sheet 'one' of {} is empty; name the column there"]),
        ([["q", " "], ["x", "y"]], ["path: cell B1 of the sheet 'one' of {} is empty; name the column there"]),
        ([["q", "a", "q"], ["x", "y", "z"]],
         ["path: {} has 2 columns named 'q' in the sheet 'one'; rename all but one"]),
        ([["q", "a"], ["x", "y"], [DAY, "y"]],
         ["columns.anchor: column 'q' has a date in cell A3 of the sheet 'one' of {}; write it as text"]),
        ([["q", "a"], ["x", Failed("#DIV/0!")], [], [Failed("#N/A"), "y"]],
         ["columns.anchor: column 'q' has #N/A in cell A4 of the sheet 'one' of {}; correct the formula, or empty "
          "the cell",
          "columns.positive: column 'a' has #DIV/0! in cell B2 of the sheet 'one' of {}; correct the formula, or empty "
          "the cell"]),
        ([["q", "b"], ["x", "y"]], ["columns.positive: {} has no column 'a'; its columns are q, b"]),
        ([["q", "a"]], ["path: {} holds no row"]),
    ],
)  # fmt: skip
def test_a_sheet_that_is_no_table_is_refused(book: str, refusal: Refusal, rows: Rows, messages: list[str]) -> None:
    write(book, rows)
    found = refusal(book, anchor="q", positive="a")
    assert [one.removeprefix("data.train.docs.") for one in found][-len(messages) :] == [
        message.format(book) for message in messages
    ]


def test_errors_and_dates_without_a_role_do_not_matter(book: str, texts: Texts) -> None:
    write(book, [["q", "a", "n"], ["x", "y", Failed("#REF!")], ["z", "y", DAY]])
    assert texts(book, anchor="q", positive="a") == [("x", "y"), ("z", "y")]


@pytest.mark.parametrize("content", [b"", b"q,a\n", b"PK\x03\x04 and no more"])
@pytest.mark.parametrize("name", ["a.xlsx", "a.xls", "a.xlsb", "a.ods"])
def test_another_file_is_no_workbook(refusal: Refusal, name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    (problem,) = refusal(name, anchor="q")
    assert problem.startswith(f"data.train.docs.path: {name} cannot be read as workbook: ")


def test_a_sheet_is_of_workbooks_only(refusal: Refusal) -> None:
    Path("a.csv").write_text("q\nx\n")
    assert refusal("a.csv", sheet="one", anchor="q") == ["data.train.docs.sheet: is for workbooks; a.csv is csv"]
    write("a.xlsx", FAQ)
    assert refusal("a.xlsx", csv={"delimiter": ";"}, anchor="q") == [
        "data.train.docs.csv: is for CSV, TSV and text files; a.xlsx is workbook"
    ]


def test_several_workbooks_are_one_dataset(texts: Texts) -> None:
    write_xlsx(Path("a.xlsx"), {"one": [["q", "n"], ["x", 1]]})
    write_ods(Path("b.ods"), {"two": [["n", "q"], [0.5, "y"]]})
    assert texts("*.*s*", anchor="q", label="n") == [("x", 1.0), ("y", 0.5)]


def test_without_the_package_the_extra_is_named(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.xlsx", FAQ)
    monkeypatch.setattr(workbooks, "find_spec", lambda name: None)
    assert refusal("a.xlsx", anchor="q") == [
        "data.train.docs.path: a.xlsx needs the package python-calamine; pip install 'embedstep[excel]'"
    ]


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(-1e9, 1e9, width=32),
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=5),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), name=st.sampled_from(sorted(WRITERS)))
def test_cells_come_back_as_they_were_typed(folder: Path, rows: list[tuple[Any, Any]], name: str) -> None:
    write(name, [["q", "n"], *rows])
    file = find_sheet("x", DataFile(store=LocalStore(), path=name, format="workbook"), None)
    schema = sheet_schema("x", file, [])
    types = dict(zip(schema.names, schema.types, strict=True))
    found = pa.Table.from_batches(sheet_batches("x", file, types), schema).to_pydict() if any(
        cell is not None for row in rows for cell in row
    ) else {"q": [], "n": []}  # fmt: skip
    for column, key in enumerate("qn"):
        for number, cell in enumerate(found[key]):
            typed = rows[number][column]
            shown = (
                typed if not isinstance(cell, str) else str(typed).upper() if isinstance(typed, bool) else str(typed)
            )
            assert cell == shown or (isinstance(cell, str) and float(cell) == typed)
    assert file.rows_before == 1
