import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import embedstep
from embedstep.data.facts import DatasetFacts
from embedstep.data.reading import scan
from embedstep.request.datasets import Dataset

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]


def write(path: str, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def test_facts_of_a_small_dataset(read: Read) -> None:
    write("a.parquet", q=["x", "y", "z"], s=[3, -1, 3], id=[1, 2, 3])
    facts = read("a.parquet", anchor="q", label="s")
    assert facts == DatasetFacts(
        split="train",
        name="docs",
        rows=3,
        columns={"anchor": "text", "label": "integer"},
        dropped_columns=("id",),
        label_values={-1: 1, 3: 2},
        label_range=(-1.0, 3.0),
        fingerprint=facts.fingerprint,
    )


EMPTY_TEXTS = [None, "", " ", "\t\n", "\u00a0\u3000"]


def test_rows_with_an_empty_text_are_refused_with_their_numbers(refusal: Refusal) -> None:
    write("a.parquet", q=["x", *EMPTY_TEXTS, "y", ""], p=["x"] * 7 + [None])
    assert refusal("a.parquet", anchor="q", positive="p") == [
        "data.train.docs.columns.anchor: column 'q' of a.parquet is empty in 6 rows (first 2, 3, 4, 5, 6); "
        "fill the cells, or drop such rows by data.drop_incomplete_rows: true",
        "data.train.docs.columns.positive: column 'p' of a.parquet is empty in 1 row (row 8); "
        "fill the cells, or drop such rows by data.drop_incomplete_rows: true",
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_are_counted_from_one_within_each_file(refusal: Refusal, form: str) -> None:
    for name, texts in (("a", ["x", "", "y"]), ("b", [" ", "x", " "])):
        lines = [f'"{text}",1' if form == "csv" else json.dumps({"q": text, "n": 1}) for text in texts]
        Path(f"{name}.{form}").write_text("\n".join([*(["q,n"] if form == "csv" else []), *lines, ""]))
    first, second = refusal(f"*.{form}", anchor="q", label="n")
    assert f"column 'q' of a.{form} is empty in 1 row (row 2); " in first
    assert f"column 'q' of b.{form} is empty in 2 rows (rows 1, 3); " in second


def test_row_numbers_hold_across_batches(refusal: Refusal) -> None:
    texts = ["x"] * 20_000
    texts[8_191] = texts[8_192] = texts[19_999] = ""
    write("a.parquet", q=texts)
    assert "is empty in 3 rows (rows 8192, 8193, 20000)" in refusal("a.parquet", anchor="q")[0]


@pytest.mark.parametrize(
    ("array", "complete"),
    [
        (pa.array([1, None, 3]), [0, 2]),
        (pa.array([0.5, None, float("nan")]), [0]),
        (pa.array([True, None, False]), [0, 2]),
        (pa.array([[0.5], [], None]), [0]),
        (pa.array([[0.5], [0.5, None], [float("nan")]]), [0]),
    ],
)
def test_rows_with_an_empty_label_are_left_out(read: Read, array: Any, complete: list[int]) -> None:
    write("a.parquet", q=["0", "1", "2"], s=array)
    facts = read("a.parquet", anchor="q", label="s", drop=True, write_to=Path("out.arrow"))
    assert (facts.rows, facts.dropped_rows) == (len(complete), 3 - len(complete))
    with pa.ipc.open_stream(Path("out.arrow").read_bytes()) as reader:
        assert reader.read_all()["anchor"].to_pylist() == [str(row) for row in complete]


def test_empty_labels_of_csv_are_empty_cells(read: Read) -> None:
    Path("a.csv").write_text("q,s\nx,1\ny,\nz,nan\n")
    assert read("a.csv", anchor="q", label="s", drop=True).dropped_rows == 2


def test_lists_with_an_empty_text_are_incomplete(read: Read) -> None:
    lists = [["a", "b"], [], ["a", ""], None, ["c"], ["d", None], [" "]]
    write("a.parquet", q=[str(row) for row in range(7)], d=lists)
    facts = read("a.parquet", anchor="q", positive="d", drop=True, write_to=Path("out.arrow"))
    assert facts.dropped_rows == 5
    with pa.ipc.open_stream(Path("out.arrow").read_bytes()) as reader:
        assert reader.read_all()["positive"].to_pylist() == [["a", "b"], ["c"]]


def test_a_dataset_without_a_complete_row_is_refused(refusal: Refusal) -> None:
    write("a.parquet", q=["", " "])
    assert refusal("a.parquet", anchor="q", drop=True) == [
        "data.train.docs.path: all 2 rows are incomplete, so no row is left"
    ]


def test_a_dataset_without_rows_is_refused(refusal: Refusal) -> None:
    write("a.parquet", q=pa.array([], pa.string()))
    assert refusal("a.parquet", anchor="q") == ["data.train.docs.path: a.parquet holds no row"]


def test_a_limit_counts_kept_rows_over_all_files(read: Read) -> None:
    write("a.parquet", q=["1", "", "2"])
    write("b.parquet", q=["", "3", "4"])
    write("whole.parquet", q=["1", "2", "3"])
    facts = read(["a.parquet", "b.parquet"], anchor="q", drop=True, limit=3)
    assert (facts.rows, facts.dropped_rows) == (3, 2)
    assert facts.fingerprint == read("whole.parquet", anchor="q").fingerprint


@pytest.mark.parametrize("limit", [1, 8_191, 8_192, 8_193, 30_000])
def test_rows_behind_the_limit_are_not_judged(read: Read, limit: int) -> None:
    write("a.parquet", q=["x"] * limit + [""])
    assert read("a.parquet", anchor="q", limit=limit).rows == limit


def test_a_limit_does_not_hide_an_incomplete_row_before_it(refusal: Refusal) -> None:
    write("a.parquet", q=["x", "", "y", "z"])
    assert "is empty in 1 row (row 2)" in refusal("a.parquet", anchor="q", limit=2)[0]


def test_a_limit_above_the_number_of_rows_takes_all(read: Read) -> None:
    write("a.parquet", q=["x", "y"])
    assert read("a.parquet", anchor="q", limit=5).rows == 2


def test_label_values_are_given_up_to_a_thousand(read: Read) -> None:
    write("a.parquet", q=["x"] * 1_001, few=[*range(1_000), 0], many=list(range(1_001)))
    few, many = (read("a.parquet", anchor="q", label=label) for label in ("few", "many"))
    assert (len(few.label_values), few.label_values[0], few.label_range) == (1_000, 2, (0.0, 999.0))
    assert (many.label_values, many.label_range) == ({}, (0.0, 1_000.0))


def test_a_dataset_of_the_hub_is_not_for_this_reader() -> None:
    dataset = Dataset.model_validate({"hub": "some/set", "split": "train", "columns": {"anchor": "q"}})
    with pytest.raises(ValueError, match="has to be fetched"):
        scan("train", "docs", dataset, drop_incomplete_rows=False)


def test_the_import_brings_in_neither_pyarrow_nor_fsspec() -> None:
    code = "import sys, embedstep.data.reading; print({'pyarrow', 'fsspec', 'torch', 'pandas'} & {*sys.modules})"
    source = Path(embedstep.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=source)
    assert done.stdout == "set()\n"
