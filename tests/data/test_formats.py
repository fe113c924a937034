import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.facts import DatasetFacts

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]


def write_lines(path: str, *rows: Mapping[str, Any]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def kept(read: Read, path: str, **more: Any) -> list[dict[str, Any]]:
    """Return the kept rows as plain values."""
    read(path, write_to=Path("out.arrow"), **more)
    with pa.ipc.open_stream(Path("out.arrow").read_bytes()) as reader:
        return list(reader.read_all().to_pylist())


ROWS = [{"q": "x, y", "n": 1}, {"q": 'ä "z"\nw', "n": 2}]
KEPT = [{"anchor": "x, y", "label": 1}, {"anchor": 'ä "z"\nw', "label": 2}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json"])
def test_json_lines(read: Read, name: str) -> None:
    write_lines(name, *ROWS)
    assert kept(read, name, anchor="q", label="n") == KEPT


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t")])
def test_csv_with_quotes_and_line_breaks_in_cells(read: Read, name: str, mark: str) -> None:
    Path(name).write_text(f'q{mark}n\n"x, y"{mark}1\n"ä ""z""\nw"{mark}2\n')
    assert kept(read, name, anchor="q", label="n") == KEPT


def test_parquet(read: Read) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), "a.parquet")
    assert kept(read, "a.parquet", anchor="q", label="n") == KEPT


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_arrow_in_both_forms(read: Read, new: Callable[..., Any]) -> None:
    table = pa.Table.from_pylist(ROWS)
    with new("a.arrow", table.schema) as writer:
        writer.write_table(table)
    assert kept(read, "a.arrow", anchor="q", label="n") == KEPT


@pytest.mark.parametrize(("name", "text"), [("a.csv", "q,n\nx,1\n"), ("a.jsonl", '{"q": "x", "n": 1}\n')])
def test_a_byte_order_mark_is_no_part_of_the_first_name(read: Read, name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8-sig")
    assert kept(read, name, anchor="q", label="n") == [{"anchor": "x", "label": 1}]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (pa.large_string(), ["x", "y"]),
        (pa.string_view(), ["x", "y"]),
        (pa.dictionary(pa.int8(), pa.string()), ["x", "y"]),
        (pa.dictionary(pa.int32(), pa.large_string()), ["x", "y"]),
    ],
)
def test_every_spelling_of_text_becomes_a_string(read: Read, dtype: pa.DataType, values: list[str]) -> None:
    table = pa.table({"q": pa.array(values).cast(dtype)})
    with pa.ipc.new_stream("a.arrow", table.schema) as writer:
        writer.write_table(table)
    assert kept(read, "a.arrow", anchor="q") == [{"anchor": "x"}, {"anchor": "y"}]


@pytest.mark.parametrize(
    ("array", "kind", "values"),
    [
        (pa.array([1, 0], pa.uint8()), "integer", [1, 0]),
        (pa.array([True, False]), "integer", [1, 0]),
        (pa.array([0.5, 2], pa.float32()), "number", [0.5, 2.0]),
        (pa.array([0.5, 2], pa.float16()), "number", [0.5, 2.0]),
        (pa.array([Decimal("0.50"), Decimal("2.00")]), "number", [0.5, 2.0]),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2)), "numbers", [[1.0, 2.0], [3.0, 4.0]]),
        (pa.array([[0.5], [1, 2]], pa.large_list(pa.float32())), "numbers", [[0.5], [1.0, 2.0]]),
    ],
)
def test_every_spelling_of_a_number_becomes_one_type(read: Read, array: Any, kind: str, values: list[Any]) -> None:
    pq.write_table(pa.table({"q": ["x", "y"], "n": array}), "a.parquet")
    assert [row["label"] for row in kept(read, "a.parquet", anchor="q", label="n")] == values
    assert read("a.parquet", anchor="q", label="n").columns["label"] == kind


def test_a_number_that_does_not_fit_is_refused(refusal: Refusal) -> None:
    pq.write_table(pa.table({"q": ["x"], "n": pa.array([2**64 - 1], pa.uint64())}), "a.parquet")
    (problem,) = refusal("a.parquet", anchor="q", label="n")
    assert problem.startswith(
        "data.train.docs.path: column 'n' of a.parquet has a value that cannot be used: Integer value 18446744073709"
    )


def test_text_columns_of_csv_stay_text_whatever_they_look_like(read: Read) -> None:
    Path("a.csv").write_text("q,p\n007,2020-01-01\nNA,true\n")
    assert kept(read, "a.csv", anchor="q", positive="p") == [
        {"anchor": "007", "positive": "2020-01-01"},
        {"anchor": "NA", "positive": "true"},
    ]


def test_a_column_name_with_a_dot_is_one_name(read: Read) -> None:
    pq.write_table(pa.table({"a.b": ["x"], "a": [{"b": 1}]}), "a.parquet")
    assert kept(read, "a.parquet", anchor="a.b") == [{"anchor": "x"}]


@pytest.mark.parametrize("label", ["0.5", "1e-3", "2.0"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_one_broken_number_late_in_a_text_file_makes_all_labels_numbers(read: Read, form: str, label: str) -> None:
    labels = ["1"] * 30_000 + [label]
    if form == "csv":
        Path("a.csv").write_text("q,s\n" + "".join(f"x,{each}\n" for each in labels))
    else:
        Path("a.jsonl").write_text("".join(f'{{"q": "x", "s": {each}}}\n' for each in labels))
    facts = read(f"a.{form}", anchor="q", label="s")
    assert facts.columns == {"anchor": "text", "label": "number"}
    assert (facts.rows, facts.label_values) == (30_001, {})
    assert facts.label_range == (min(1.0, float(label)), max(1.0, float(label)))


def test_text_files_with_integers_here_and_numbers_there_hold_numbers(read: Read) -> None:
    Path("a.csv").write_text("q,s\nx,1\n")
    Path("b.csv").write_text("q,s\nx,0.5\n")
    assert read(["a.csv", "b.csv"], anchor="q", label="s").columns["label"] == "number"


def test_truth_values_count_as_integers_in_every_format(read: Read) -> None:
    Path("a.csv").write_text("q,n\nx,true\ny,false\n")
    write_lines("a.jsonl", {"q": "x", "n": True}, {"q": "y", "n": False})
    assert read("a.csv", anchor="q", label="n").label_values == {0: 1, 1: 1}
    assert read("a.csv", anchor="q", label="n").fingerprint == read("a.jsonl", anchor="q", label="n").fingerprint


def test_lists_of_texts_in_json_lines(read: Read) -> None:
    write_lines("a.jsonl", {"q": "x", "d": ["a", "b"], "s": [1, 0]}, {"q": "y", "d": ["c"], "s": [0.5]})
    assert kept(read, "a.jsonl", anchor="q", positive="d", label="s") == [
        {"anchor": "x", "positive": ["a", "b"], "label": [1.0, 0.0]},
        {"anchor": "y", "positive": ["c"], "label": [0.5]},
    ]


def test_a_json_column_that_comes_late_is_found(read: Read) -> None:
    write_lines("a.jsonl", *[{"q": "x"}] * 150, {"q": "y", "late": "z", "n": None})
    facts = read("a.jsonl", anchor="q", positive="late", drop=True)
    assert (facts.rows, facts.dropped_rows, facts.dropped_columns) == (1, 150, ("n",))


def test_lines_that_are_no_objects_are_named_by_their_rows(refusal: Refusal) -> None:
    Path("a.jsonl").write_bytes(b'{"q": "x"}\n\n[1]\nnonsense\n"text"\n{"q": "\xff"}\n{"q": \n3\n')
    assert refusal("a.jsonl", anchor="q") == [
        "data.train.docs.path: a.jsonl is a JSON array in row 2; one object on each line is needed",
        "data.train.docs.path: a.jsonl is not JSON in rows 3, 6; one object on each line is needed",
        "data.train.docs.path: a.jsonl is a JSON string in row 4; one object on each line is needed",
        "data.train.docs.path: a.jsonl is not UTF-8 text in row 5; one object on each line is needed",
        "data.train.docs.path: a.jsonl is a JSON number in row 7; one object on each line is needed",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["x"]\n', "a.json is a JSON string in row 1; one object on each line is needed"),
        ('{\n"q": "x"\n]\n', "a.json is not JSON in rows 1, 2, 3; one object on each line is needed"),
        ("\n\n", "a.json has no rows"),
        ("", "a.json has no rows"),
        ('{"q": "x", "q": "y"}\n', "a.json cannot be read as jsonl: JSON parse error: Column(/q) was specified twice"),
        ('{"q": "\\ud800"}\n', "a.json cannot be read as jsonl: JSON parse error: The surrogate pair in string is inv"),
    ],
)
def test_json_that_is_not_lines_of_objects_is_refused(refusal: Refusal, text: str, message: str) -> None:
    Path("a.json").write_text(text)
    (problem,) = refusal("a.json", anchor="q")
    assert problem.startswith(f"data.train.docs.path: {message}")


def test_json_cells_of_another_type_are_named_by_their_rows(refusal: Refusal) -> None:
    rows = [{"q": "x", "d": ["a"], "n": 1}] * 200
    odd = [{"q": 5, "d": ["a"], "n": 1}] * 7 + [{"q": "x", "d": "a", "n": "b"}, {"q": "x", "d": ["a", 1], "n": True}]
    write_lines("a.jsonl", *rows, *odd)
    assert refusal("a.jsonl", anchor="q", positive="d", label="n") == [
        "data.train.docs.path: a.jsonl holds a JSON number in column 'q' in rows 201, 202, 203, 204, 205 and 2 more; "
        "a string is needed",
        "data.train.docs.path: a.jsonl holds a JSON string in column 'd' in row 208; "
        "an array with a string in each place is needed",
        "data.train.docs.path: a.jsonl holds a JSON string in column 'n' in row 208; a number is needed",
        "data.train.docs.path: a.jsonl holds a JSON array in column 'd' in row 209; "
        "an array with a string in each place is needed",
        "data.train.docs.path: a.jsonl holds a JSON truth value in column 'n' in row 209; a number is needed",
    ]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "a.csv cannot be read as csv: Empty CSV file"),
        (b"q,s\nx,1\ny\n", "a.csv cannot be read as csv: CSV parse error: row 2: Expected 2 columns, got 1: y"),
        (
            b"q,s\nx,1\n\xff,2\n",
            "a.csv cannot be read as csv: In CSV column #0: row 2: CSV conversion error to string: ",
        ),
        (b"q\xff,s\nx,1\n", "a.csv cannot be read as csv: 'utf-8' codec can't decode byte 0xff"),
        (b'q,s\nx,1\n"y', 'a.csv cannot be read as csv: row 2 has a cell whose " is not closed; write csv: {escape: '),
    ],
)
def test_broken_csv_is_refused(refusal: Refusal, raw: bytes, message: str) -> None:
    Path("a.csv").write_bytes(raw)
    (problem,) = refusal("a.csv", anchor="q", label="s")
    assert problem.startswith(f"data.train.docs.path: {message}")


def test_a_word_among_the_labels_of_csv_is_refused_with_its_row(refusal: Refusal) -> None:
    Path("a.csv").write_text("q,s\n" + f"{'long ' * 200},1\n" * 9_000 + "x,high\n")
    assert refusal("a.csv", anchor="q", label="s") == [
        "data.train.docs.path: a.csv cannot be read as csv: "
        "In CSV column #1: row 9001: CSV conversion error to double: invalid value 'high'"
    ]


def test_a_csv_file_with_a_header_alone_has_no_rows(refusal: Refusal) -> None:
    Path("a.csv").write_text("q,s\n")
    Path("b.csv").write_text("q,s\nx,1\n")
    assert refusal("a.csv", anchor="q") == ["data.train.docs.path: a.csv holds no row"]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("raw", [b"", b"PAR1", b"ARROW1 and nothing more", b"nonsense " * 50, b"\x1f\x8b\x08\x00"])
def test_a_broken_file_is_refused_by_name(refusal: Refusal, name: str, raw: bytes) -> None:
    Path(name).write_bytes(raw)
    (problem,) = refusal(name, anchor="q")
    assert problem.startswith("data.train.docs.path: a.")
    assert name in problem


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_file_that_was_cut_off_is_refused_together_with_other_problems(refusal: Refusal, name: str) -> None:
    table = pa.table({"q": [f"text number {row}" for row in range(5_000)]})
    if name == "a.parquet":
        pq.write_table(table, name)
    else:
        with pa.ipc.new_stream(name, table.schema) as writer:
            writer.write_table(table)
    Path(name).write_bytes(Path(name).read_bytes()[:-10_000])
    problems = refusal([name, f"missing/{name}"], anchor="q")
    assert problems == [f"data.train.docs.path: missing/{name} does not exist"]
    (problem,) = refusal(name, anchor="q")
    assert problem.startswith(f"data.train.docs.path: {name} cannot be read")


def test_bytes_that_are_no_text_are_refused_in_typed_formats(refusal: Refusal) -> None:
    offsets, text = pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")
    broken: Any = pa.Array.from_buffers(pa.string(), 1, [None, offsets, text])
    pq.write_table(pa.table({"q": broken}), "a.parquet")
    (problem,) = refusal("a.parquet", anchor="q")
    assert problem.startswith("data.train.docs.path: a.parquet cannot be read as parquet: ")
    assert "UTF8" in problem
