"""JSON files that are one document: rows wherever they stand in it, or a sentence about what it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.data.formats import as_written, column_names
from embedstep.data.sources import find_files

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]
Texts = Callable[..., list[tuple[Any, ...]]]
BOTH = {"anchor": "q", "positive": "a"}
ROWS = [{"q": "x", "a": "y"}, {"q": 'ä "z"\n', "a": "w"}]
TEXTS = [("x", "y"), ('ä "z"\n', "w")]
DOCUMENTS: dict[str, Any] = {
    "an array": ROWS,
    "an object around an array": {"data": ROWS},
    "an object with facts and an array": {"version": 1, "tags": ["t"], "rows": ROWS},
    "pandas' columns": {"q": {"0": "x", "1": TEXTS[1][0]}, "a": {"0": "y", "1": "w"}},
    "columns of lists": {"q": [row["q"] for row in ROWS], "a": [row["a"] for row in ROWS]},
    "pandas' split": {"columns": ["q", "a"], "index": [0, 1], "data": [list(row.values()) for row in ROWS]},
    "pandas' index": {"0": ROWS[0], "1": ROWS[1]},
    "pandas' table": {"schema": {"fields": []}, "data": ROWS},
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_rows_are_found_in_a_document(texts: Texts, name: str, indent: int | None) -> None:
    Path("a.json").write_text(json.dumps(DOCUMENTS[name], indent=indent, ensure_ascii=False))
    assert texts("a.json", **BOTH) == TEXTS


def test_indented_objects_one_after_the_other_are_rows(texts: Texts) -> None:
    Path("a.json").write_text("\n".join(json.dumps(row, indent=2) for row in ROWS))
    assert texts("a.json", **BOTH) == TEXTS


def test_a_folder_of_indented_arrays_is_read(read: Read) -> None:
    Path("data").mkdir()
    for number in range(3):
        Path(f"data/{number}.json").write_text(json.dumps(ROWS, indent=4))
    assert read("data", **BOTH).rows == 6


def test_lines_stay_lines(read: Read, texts: Texts) -> None:
    Path("a.json").write_text('{"q": "x", "a": ["y"], "data": [{"q": "z"}]}')
    assert texts("a.json", **BOTH) == [("x", ["y"])]
    Path("b.json").write_text('{"q": "x", "a": "y"}\n{"q": "z", "a": "w"}')
    assert read("b.json", **BOTH).rows == 2


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: [row], lambda row: {"data": [row]}])
def test_fields_of_objects_are_found_in_a_document(
    texts: Texts, wrap: Callable[[dict[str, Any]], Any], indent: int | None
) -> None:
    Path("a.json").write_text(json.dumps(wrap({"meta": {"title": "x", "body": "y"}}), indent=indent))
    assert texts("a.json", anchor="meta.title", positive="meta.body") == [("x", "y")]


def test_a_document_in_utf_16_is_read(texts: Texts) -> None:
    Path("a.json").write_text(json.dumps(ROWS, ensure_ascii=False), encoding="utf-16")
    assert texts("a.json", **BOTH) == TEXTS


LLAMA: dict[str, Any] = {"queries": {"1": "x"}, "corpus": {"2": "y"}, "relevant_docs": {"1": ["2"]}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        *(
            (
                document,
                "is a LlamaIndex file of queries, corpus and relevant_docs; write a row for each query and each of its "
                'documents, such as {"query": queries[id], "document": corpus[relevant]}, one on each line',
            )
            for document in (LLAMA, {**LLAMA, "mode": "text"}, dict.fromkeys(LLAMA, LLAMA["corpus"]))
        ),
        (
            {"one": ROWS, "other": ROWS},
            "is one JSON object with the keys one, other, not rows; write an array of objects, or one object on each "
            "line",
        ),
        ({"data": [1]}, "is one JSON object with the keys data, not rows; write an array of objects"),
        ({}, "is one JSON object without rows; write an array of objects"),
        ({"q": {"0": "x"}, "a": {"1": "y"}}, "is one JSON object of columns that have different rows; write an array"),
        ({"q": ["x"], "a": []}, "is one JSON object of columns that have different numbers of rows; write an array"),
        (
            {"columns": ["q", "a"], "data": [["x"]]},
            "is one JSON object of columns and data whose rows have other lengths; write an array",
        ),
        ([*ROWS, {"q": 5, "a": "y"}], "holds a JSON number in column 'q' in row 3; a string is needed"),
        ([*ROWS, 5], "is a JSON number in row 3; one object on each line is needed"),
        ([], "has no rows"),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_without_rows_is_refused_in_a_sentence(
    refusal: Refusal, document: Any, message: str, indent: int | None
) -> None:
    Path("a.json").write_text(json.dumps(document, indent=indent))
    (problem,) = refusal("a.json", **BOTH)
    assert problem.startswith(f"data.train.docs.path: a.json {message}")


def test_an_array_that_was_cut_off_is_refused_with_its_place(refusal: Refusal) -> None:
    Path("a.json").write_text(json.dumps(ROWS, indent=1)[:-10])
    assert refusal("a.json", **BOTH) == [
        "data.train.docs.path: a.json is not JSON in line 8, column 6: Expecting ':' delimiter"
    ]


def test_a_document_that_is_nested_too_deeply_is_refused(refusal: Refusal) -> None:
    Path("a.json").write_text("[" * 200_000)
    assert refusal("a.json", **BOTH) == ["data.train.docs.path: a.json is not JSON: it is nested too deeply"]


def test_a_column_that_is_not_in_the_one_row_is_named(refusal: Refusal) -> None:
    Path("a.json").write_text('{"question": "x", "a": "y"}')
    assert refusal("a.json", **BOTH) == [
        "data.train.docs.columns.anchor: a.json has no column 'q'; its columns are question, a"
    ]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_columns_of_a_document_are_found(name: str, indent: int | None) -> None:
    Path("a.json").write_text(json.dumps(DOCUMENTS[name], indent=indent))
    (file,) = find_files("data.train.docs", ["a.json"], None)
    assert column_names("data.train.docs", as_written("data.train.docs", file, None, None)) == ("q", "a")
