from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.results import check_columns, write_parquet, write_result
from embedstep.errors import InvalidRequestError, Problem

CASTS = {"text": "varchar", "number": "double", "integer": "bigint"}
GOOD: dict[str, pa.DataType] = {
    "a": pa.string(), "b": pa.int8(), "c": pa.float32(), "d": pa.list_(pa.string()), "e": pa.bool_(), "f": pa.null(),
    "g": pa.dictionary(pa.int8(), pa.string()), "h": pa.list_(pa.float64(), 3),
}  # fmt: skip


def test_texts_numbers_and_lists_of_them_are_rows() -> None:
    check_columns("x", pa.schema(GOOD), list(GOOD), CASTS)


@pytest.mark.parametrize(
    ("dtype", "shown", "cast"),
    [
        (pa.date32(), "DATE", "cast(day as varchar)"),
        (pa.timestamp("us", "UTC"), "TIMESTAMPTZ", "cast(day as varchar)"),
        (pa.binary(), "BLOB", "cast(day as varchar)"),
        (pa.struct([("a", pa.int8())]), "STRUCT(a TINYINT)", "cast(day as varchar)"),
        (pa.map_(pa.string(), pa.string()), "MAP", "cast(day as varchar)"),
        (pa.list_(pa.date32()), "DATE[]", "cast(day as varchar)"),
        (pa.list_(pa.list_(pa.string())), "VARCHAR[][]", "cast(day as varchar)"),
        (pa.decimal128(4, 1), "DECIMAL(4,1)", "cast(day as double)"),
        (pa.decimal128(38, 0), "HUGEINT", "cast(day as bigint)"),
        (pa.binary(2), "numeric", "cast(day as double)"),
    ],
)
def test_other_columns_are_refused_with_the_cast_to_write(dtype: pa.DataType, shown: str, cast: str) -> None:
    message = f"gives the column 'day' of the type {shown}, and rows hold texts and numbers; write {cast} as day, or"
    with pytest.raises(InvalidRequestError) as caught:
        check_columns(
            "x.sql", pa.schema([pa.field("a", pa.string()), pa.field("day", dtype)]), ["VARCHAR", shown], CASTS
        )
    assert list(caught.value.problems) == [Problem("x.sql", f"{message} leave it out")]


def test_all_columns_are_refused_together() -> None:
    columns: list[tuple[str, pa.DataType]] = [("a", pa.string()), ("a", pa.int64()), ('the "day"', pa.date32())]
    schema = pa.schema(columns)
    with pytest.raises(InvalidRequestError) as caught:
        check_columns("x", schema, ["VARCHAR", "BIGINT", "DATE"], CASTS)
    assert [problem.message for problem in caught.value.problems] == [
        "gives 2 columns named 'a'; rename all but one: a as other",
        "gives the column 'the \"day\"' of the type DATE, and rows hold texts and numbers; "
        'write cast("the ""day""" as varchar) as "the ""day""", or leave it out',
    ]


def reader(*batches: list[int]) -> pa.RecordBatchReader:
    schema = pa.schema([pa.field("n", pa.int64(), metadata={"server": "int8"})])
    return pa.RecordBatchReader.from_batches(
        schema, [pa.record_batch([pa.array(values, pa.int64())], schema=schema) for values in batches]
    )


def test_rows_are_written_without_what_a_server_says_of_them(tmp_path: Path) -> None:
    write_result("x", reader([1, 2], [], [3]), tmp_path / "rows.arrow")
    with pa.OSFile(str(tmp_path / "rows.arrow"), "rb") as source, pa.ipc.open_stream(source) as opened:
        assert opened.schema.equals(pa.schema([("n", pa.int64())]), check_metadata=True)
        assert opened.read_all().to_pydict() == {"n": [1, 2, 3]}
    write_parquet(reader([1], [2]), tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").to_pydict() == {"n": [1, 2]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.arrow", "rows.parquet"]


@pytest.mark.parametrize("batches", [[], [[]]], ids=str)
def test_a_result_without_rows_is_refused_and_leaves_no_file(tmp_path: Path, batches: list[list[int]]) -> None:
    with pytest.raises(InvalidRequestError, match=r"^data\.train\.docs\.sql: gives no row$"):
        write_result("data.train.docs.sql", reader(*batches), tmp_path / "rows.arrow")
    assert list(tmp_path.iterdir()) == []
