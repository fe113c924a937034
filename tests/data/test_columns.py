from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.data.roles import RowNeeds

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]


def write(path: str, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def test_columns_follow_the_order_of_a_loss_and_not_of_the_file(read: Read) -> None:
    write("a.parquet", s=[1], neg=["n"], pos=["p"], q=["q"], extra=[0], id=[7])
    facts = read("a.parquet", label="s", negative="neg", positive="pos", anchor="q")
    assert list(facts.columns.items()) == [
        ("anchor", "text"),
        ("positive", "text"),
        ("negative", "text"),
        ("label", "integer"),
    ]
    assert facts.inputs == ("anchor", "positive", "negative")
    assert facts.dropped_columns == ("extra", "id")


def test_several_negatives_are_numbered(read: Read) -> None:
    write("a.parquet", q=["q"], one=["1"], two=["2"])
    assert read("a.parquet", anchor="q", negative=["two", "one"]).inputs == ("anchor", "negative_1", "negative_2")


def test_several_labels_become_one_list(read: Read) -> None:
    write("a.parquet", q=["x", "", "z"], one=[1, 2, 3], two=[0.5, 1.5, 2.5], three=[True, False, True])
    facts = read("a.parquet", anchor="q", label=["two", "one", "three"], drop=True, write_to=Path("out.arrow"))
    assert facts.columns == {"anchor": "text", "label": "numbers"}
    assert (facts.label_values, facts.label_range) == ({}, None)
    with pa.ipc.open_stream(Path("out.arrow").read_bytes()) as reader:
        assert reader.read_all()["label"].to_pylist() == [[0.5, 1.0, 1.0], [2.5, 3.0, 1.0]]


def test_several_labels_of_a_text_file_are_numbers(read: Read) -> None:
    Path("a.csv").write_text("q,one,two\nx,1,0.5\ny,2.5,1\n")
    Path("a.jsonl").write_text('{"q": "x", "one": 1, "two": 0.5}\n{"q": "y", "one": 2.5, "two": 1}\n')
    csv = read("a.csv", anchor="q", label=["one", "two"])
    assert csv.columns["label"] == "numbers"
    assert csv.fingerprint == read("a.jsonl", anchor="q", label=["one", "two"]).fingerprint


def test_a_missing_column_is_refused_with_the_nearest_name(refusal: Refusal) -> None:
    write("a.parquet", Question=["x"], answer=["y"])
    assert refusal("a.parquet", anchor="question", positive="anwser", negative="zzz") == [
        "data.train.docs.columns.anchor: a.parquet has no column 'question'; its columns are Question, answer; "
        "did you mean Question?",
        "data.train.docs.columns.positive: a.parquet has no column 'anwser'; its columns are Question, answer; "
        "did you mean answer?",
        "data.train.docs.columns.negative: a.parquet has no column 'zzz'; its columns are Question, answer",
    ]


def test_a_column_in_two_roles_is_refused_together_with_a_missing_file(refusal: Refusal) -> None:
    assert refusal("no.csv", anchor="q", positive="p", negative="p", label=["s", "s"]) == [
        "data.train.docs.columns.negative: column 'p' is named 2 times; a column has one role",
        "data.train.docs.columns.label: column 's' is named 2 times; a column has one role",
        "data.train.docs.path: no.csv does not exist",
    ]


def test_a_header_with_a_name_twice_is_refused_only_where_it_matters(read: Read, refusal: Refusal) -> None:
    Path("a.csv").write_text("q,a,a\nx,y,z\n")
    assert read("a.csv", anchor="q").dropped_columns == ("a",)
    assert refusal("a.csv", anchor="q", positive="a") == [
        "data.train.docs.columns.positive: a.csv has several columns named 'a'; rename all but one"
    ]


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([1], "integers"),
        ([0.5], "numbers"),
        ([["a"]], "lists of texts"),
        ([[1]], "lists of numbers"),
        ([date(2020, 1, 1)], "values of type date32[day]"),
        ([{"a": 1}], "values of type struct<a: int64>"),
        ([b"x"], "values of type binary"),
    ],
)
def test_an_anchor_that_is_not_text_is_refused(refusal: Refusal, values: list[Any], held: str) -> None:
    write("a.parquet", q=values)
    assert refusal("a.parquet", anchor="q") == [
        f"data.train.docs.columns.anchor: column 'q' holds {held}; an anchor is text"
    ]


def test_every_column_of_a_wrong_kind_is_refused(refusal: Refusal) -> None:
    write("a.parquet", q=["x"], p=[1], n=[[0.5]], s=[["a"]])
    assert refusal("a.parquet", anchor="q", positive="p", negative="n", label="s") == [
        "data.train.docs.columns.positive: column 'p' holds integers; a positive is text or a list of texts",
        "data.train.docs.columns.negative: column 'n' holds lists of numbers; a negative is text or a list of texts",
        "data.train.docs.columns.label: column 's' holds lists of texts; a label is a number or a list of numbers",
    ]


def test_lists_among_several_labels_are_refused(refusal: Refusal) -> None:
    write("a.parquet", q=["x"], one=[[1.0]], two=[1])
    assert refusal("a.parquet", anchor="q", label=["one", "two"]) == [
        "data.train.docs.columns.label: column 'one' holds lists of numbers; several label columns hold one number each"
    ]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_labels_that_are_words_are_refused_with_the_first_of_them(refusal: Refusal, form: str) -> None:
    words = ["sport", "sport", "news", "art", "law"]
    match form:
        case "parquet":
            write("a.parquet", q=["x"] * 5, s=words)
        case "csv":
            Path("a.csv").write_text("q,s\n" + "".join(f"x,{word}\n" for word in words))
        case _:
            Path("a.jsonl").write_text("".join(f'{{"q": "x", "s": "{word}"}}\n' for word in words))
    assert refusal(f"a.{form}", anchor="q", label="s") == [
        "data.train.docs.columns.label: column 's' holds text ('sport', 'news', 'art'); "
        "a label is a number, and classes are numbered from 0"
    ]


def test_a_column_without_any_value_is_refused(refusal: Refusal) -> None:
    write("a.parquet", q=pa.nulls(2))
    Path("a.jsonl").write_text('{"q": null}\n{"q": []}\n')
    message = "data.train.docs.columns.anchor: column 'q' has no value in any row; an anchor is text"
    assert refusal("a.parquet", anchor="q") == [message]
    assert refusal("a.jsonl", anchor="q") == [message]


def test_a_file_whose_column_is_all_null_takes_its_kind_from_the_others(read: Read, refusal: Refusal) -> None:
    write("a.parquet", q=pa.nulls(2))
    write("b.parquet", q=["x"])
    facts = read(["a.parquet", "b.parquet"], anchor="q", drop=True)
    assert (facts.rows, facts.dropped_rows) == (1, 2)
    assert (
        "column 'q' of a.parquet is empty in 2 rows (rows 1, 2)" in refusal(["a.parquet", "b.parquet"], anchor="q")[0]
    )


def test_files_that_differ_are_refused(refusal: Refusal) -> None:
    write("a.parquet", q=["x"], s=[1])
    write("b.parquet", q=[1], s=[0.5])
    write("c.parquet", other=["x"])
    assert refusal("*.parquet", anchor="q", label="s") == [
        "data.train.docs.columns.anchor: c.parquet has no column 'q'; its columns are other",
        "data.train.docs.columns.label: c.parquet has no column 's'; its columns are other",
    ]
    assert refusal("[ab].parquet", anchor="q", label="s") == [
        "data.train.docs.columns.anchor: column 'q' holds text in a.parquet and integers in b.parquet; "
        "all files need the same kind",
        "data.train.docs.columns.label: column 's' holds integers in a.parquet and numbers in b.parquet; "
        "all files need the same kind",
    ]


@pytest.mark.parametrize(
    ("labels", "kind", "values"),
    [
        ([1.0, 0.0], "integer", {0: 2, 1: 1}),
        ([-3.0, 2.0**52], "integer", {-3: 1, 0: 1, 2**52: 1}),
        ([1.0, 0.5], "number", {}),
        ([1.0, float("inf")], "number", {}),
        ([1.0, 2.0**63], "number", {}),
    ],
)
def test_numbers_without_fractions_are_integers_where_those_are_needed(
    read: Read, labels: list[float], kind: str, values: dict[int, int]
) -> None:
    """One of the files has integers: pandas had no gap to fill there."""
    write("a.parquet", q=["x", "y"], s=labels)
    write("b.parquet", q=["z"], s=[0])
    facts = read("*.parquet", anchor="q", label="s", needs=RowNeeds(integer_labels=True))
    assert (facts.label, facts.label_values) == (kind, values)


def test_several_label_columns_stay_numbers_where_integers_are_needed(read: Read) -> None:
    write("a.parquet", q=["x"], one=[1.0], two=[2.0])
    facts = read("a.parquet", anchor="q", label=["one", "two"], needs=RowNeeds(integer_labels=True))
    assert facts.label == "numbers"


def test_files_may_differ_in_the_width_of_a_type_and_in_unnamed_columns(read: Read) -> None:
    write("a.parquet", q=pa.array(["x"], pa.large_string()), s=pa.array([1], pa.int8()), one=[0])
    write("b.parquet", two=["z"], s=[2], q=["y"])
    facts = read("*.parquet", anchor="q", label="s")
    assert (facts.rows, facts.label_values, facts.dropped_columns) == (2, {1: 1, 2: 1}, ("one", "two"))


def test_a_broken_file_does_not_hide_a_missing_column(refusal: Refusal) -> None:
    write("a.parquet", q=["x"])
    Path("b.parquet").write_bytes(b"nonsense")
    problems = refusal("*.parquet", anchor="text")
    assert [problem.split(":")[0] for problem in problems] == ["data.train.docs.path", "data.train.docs.columns.anchor"]
