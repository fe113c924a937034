"""Rows in memory as files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import embedstep
from embedstep.data.facts import DatasetFacts
from embedstep.data.frames import rows_path, save_rows
from embedstep.errors import CannotStartError, InvalidRequestError

ROWS: list[dict[str, Any]] = [{"q": "one", "a": ["x", "y"], "s": 0.5}, {"q": "two", "a": ["z"], "s": None}]
TABLE = pa.Table.from_pylist(ROWS)


class Streaming:
    """A frame of a library that we do not know, such as polars."""

    def __arrow_c_stream__(self, schema: object = None) -> Any:
        give: Callable[..., Any] = TABLE.__arrow_c_stream__
        return give(schema)


@pytest.mark.parametrize(
    "rows",
    [
        TABLE,
        ROWS,
        pd.DataFrame(ROWS, index=[7, 3]),
        datasets.Dataset.from_list(ROWS),
        datasets.Dataset.from_list([ROWS[1], ROWS[0]]).select([1, 0]),
        Streaming(),
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_rows_of_every_kind_are_written(rows: Any) -> None:
    assert pq.read_table(save_rows(rows, "rows")).to_pylist() == ROWS


def test_equal_rows_are_one_file(read: Callable[..., DatasetFacts]) -> None:
    first = save_rows(pd.DataFrame(ROWS), Path("rows"))
    assert embedstep.save_rows(pd.DataFrame(ROWS), "rows") == first
    second = save_rows(pd.DataFrame(ROWS[:1]), "rows")
    assert sorted(Path("rows").iterdir()) == sorted({Path(first), Path(second)})
    assert second != first
    assert read(first, anchor="q", positive={"list": "a", "each": "row"}).rows == 3
    (Path("rows") / "other").write_text("")
    # Readable by all that may read other files: the processes of a training may have another user.
    assert Path(first).stat().st_mode == (Path("rows") / "other").stat().st_mode


NEEDED = "needs a DataFrame, a datasets.Dataset, an Arrow table, or a list of mappings"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"q": ["one"]}, f"rows: {NEEDED}; dict was given"),
        ([], f"rows: {NEEDED}; list was given"),
        ("rows.csv", f"rows: {NEEDED}; str was given"),
        (
            TABLE.column("q"),
            "rows: cannot be read as columns: Cannot import schema: ArrowSchema describes non-struct type string",
        ),
        (
            pd.DataFrame({"q": ["one", 2]}),
            "rows: cannot be read as columns: Expected bytes, got a 'int' object; Conversion failed for column q with "
            "type object",
        ),
    ],
)
def test_what_is_no_rows_is_refused(rows: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        save_rows(rows, "rows")
    assert str(caught.value) == problem
    assert not Path("rows").exists()


def test_a_folder_that_cannot_be_made_is_reported() -> None:
    Path("rows").write_text("a file")
    with pytest.raises(CannotStartError, match="the rows cannot be written to rows: "):
        save_rows(ROWS, "rows")


def test_rows_of_a_step_are_a_path(tmp_path: Path) -> None:
    assert rows_path("rows.csv", tmp_path, "train_data") == Path.cwd() / "rows.csv"
    assert rows_path(tmp_path / "rows", tmp_path, "train_data") == tmp_path / "rows"
    assert pq.read_table(rows_path(TABLE, tmp_path / "one", "train_data")).to_pylist() == ROWS


def test_rows_of_several_datasets_are_a_folder(tmp_path: Path) -> None:
    """With the files that a step looks for."""
    folder = rows_path({"docs": pd.DataFrame(ROWS), "faq": TABLE}, tmp_path / "given", "train_data")
    assert sorted(file.name for file in folder.iterdir()) == ["docs.parquet", "faq.parquet"]
    assert pq.read_table(folder / "faq.parquet").to_pylist() == ROWS


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("s3://bucket/rows", "train_data: is s3://bucket/rows; name a URL as the path of the dataset in the request"),
        (
            {"docs": {"q": ["one"]}},
            f"train_data.docs: {NEEDED}; dict was given",
        ),
        (5, f"train_data: {NEEDED}; int was given"),
    ],
)
def test_rows_of_a_step_that_are_none_are_refused(tmp_path: Path, rows: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        rows_path(rows, tmp_path, "train_data")
    assert str(caught.value) == problem
