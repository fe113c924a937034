"""A function of another package that makes all rows, of files or of nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep import RowSourceKind
from embedstep.data import row_functions
from embedstep.data.row_sources import make_rows
from embedstep.errors import InvalidRequestError
from embedstep.planning.plan import Plan
from embedstep.request.datasets import Dataset
from tests.data.test_queries import read

pytestmark = pytest.mark.usefixtures("birdsong")
COLUMNS = {"anchor": "question", "positive": "answer"}


def made(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], **source: Any) -> list[tuple[Any, ...]]:
    kind = RowSourceKind(name="x", function=function)
    monkeypatch.setattr(row_functions, "declared", lambda group, name, needed: kind)
    dataset = Dataset.model_validate({"rows": "x", "columns": COLUMNS, **source})
    make_rows("data.train.docs", dataset, Path("rows.arrow"))
    return read(Path("rows.arrow"))


def test_rows_of_files_are_made_once_and_planned(plan_request: Callable[..., Plan], tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(40)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "texts.parquet")
    pq.write_table(pa.table({"question": texts * 2, "answer": texts[::-1] * 2}), tmp_path / "made.parquet")
    source = {"path": str(tmp_path / "texts.parquet"), "rows": {"kind": "opposites", "options": {"repeat": 2}}}
    here, there = (
        plan_request(data={"train": {"docs": {**one, "columns": COLUMNS, "hold_out": {"share": 0.1}}}}).datasets
        for one in (source, {"path": str(tmp_path / "made.parquet")})
    )
    assert [(item.rows, item.fingerprint) for item in here] == [(item.rows, item.fingerprint) for item in there]
    assert sum(item.rows for item in here) == 80


def test_all_columns_of_all_files_are_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.csv").write_text("q,n\nx,1\n")
    Path("b.csv").write_text("n,q\n0.5,y\n2,z\n")
    seen: list[pa.Table] = []

    def function(rows: pa.Table) -> pa.Table:
        seen.append(rows)
        return rows.select(["q"])

    assert made(monkeypatch, function, path="*.csv") == [("x",), ("y",), ("z",)]
    assert seen[0].to_pydict() == {"q": ["x", "y", "z"], "n": [1.0, 0.5, 2.0]}
    Path("rest.jsonl").write_text("\n".join(json.dumps({"q": "x", "n": n}) for n in [*range(3), 0.5]))
    assert made(monkeypatch, lambda rows: rows.select(["n"]), path="rest.jsonl")[-1] == (0.5,)


def test_rows_of_nothing_may_be_anything_that_arrow_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    def batches(rows: None) -> Any:
        assert rows is None
        return pa.table({"n": [1, 2]}).to_reader()

    assert made(monkeypatch, batches) == [(1,), (2,)]
    with duckdb.connect() as connection:
        assert made(monkeypatch, lambda rows: connection.sql("select 3 as n")) == [(3,)]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda rows: [{"a": 1}], "x gives list; it must give an Arrow table"),
        (lambda rows: None, "x gives NoneType; it must give an Arrow table"),
        (lambda rows: rows["a"], "x fails: TypeError: 'NoneType' object is not subscriptable"),
        (lambda rows: pa.table({"a": []}), "gives no row"),
    ],
)
def test_a_function_that_makes_no_rows_is_refused(
    monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        made(monkeypatch, function)
    assert [str(problem) for problem in caught.value.problems] == [f"data.train.docs.rows: {message}"]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("opposite", "kind: no source of rows is named 'opposite'; did you mean opposites?"),
        ("birdsong:gone", "kind: birdsong has no 'gone'"),
        ("birdsong:sentences", "kind: birdsong:sentences is of type RowFunctionKind; it must be an "
                               "embedstep.RowSourceKind"),
        ({"kind": "opposites", "options": {"repeat": 0}}, "options.repeat: must be an integer of 1 or more, not 0"),
    ],
)  # fmt: skip
def test_what_is_not_declared_is_refused(problems_of: Callable[..., list[str]], rows: Any, problem: str) -> None:
    assert problems_of(data={"train": {"docs": {"rows": rows, "columns": COLUMNS}}}) == [
        f"data.train.docs.rows.{problem}"
    ]
