"""Where rows come from, and the time that stands for `{as_of}`."""

from typing import Any

import pytest
from pydantic import ValidationError

from embedstep.request.columns import Columns
from embedstep.request.datasets import Data, Dataset
from embedstep.request.sources import Beir

COLUMNS = {"anchor": "q", "positive": "a"}
FILES = {"queries": "queries.jsonl", "corpus": "corpus.jsonl", "qrels": "qrels.tsv"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"path": "a.csv", "hub": "org/rows", "split": "train"},
        {"path": "a.csv", "revision": "main"},
        {"hub": "org/rows"},
        {"path": []},
        {"path": "a.csv", "limit": 0},
        {"hub": "org/rows", "split": "train", "csv": {"delimiter": ";"}},
        {"sql": ""},
        {"sql": "select 1", "path": "a.csv"},
        {"sql": "select 1", "csv": {"delimiter": ";"}},
        {"sql": "select 1", "split": "train"},
        {"sql": "select 1", "sheet": "one"},
        {"sql": "select 1", "revision": "v1"},
        {"database": "sqlite:///a.db", "path": "a.csv"},
        {"sql": "select 1", "rows": "birdsong:made"},
        {"hub": "org/rows", "split": "train", "rows": "birdsong:made"},
        {"rows": "birdsong:made", "csv": {"delimiter": ";"}},
        {"database": "postgresql://me:hunter22@host/docs", "sql": "select 1"},
        {"beir": "scifact"},
        {"beir": {**FILES, "folder": "scifact"}},
        {"beir": {**FILES, "corpus": None}},
        {"beir": FILES, "split": "train"},
        {"beir": FILES, "path": "a.csv"},
        {"beir": FILES, "rows": "birdsong:made"},
        {"beir": FILES, "csv": {"delimiter": ";"}},
    ],
    ids=str,
)
def test_a_source_that_is_not_one_source_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Dataset.model_validate({"columns": COLUMNS, **given})


@pytest.mark.parametrize(("columns", "anchor"), [({}, "query"), ({"columns": COLUMNS}, "q")], ids=str)
@pytest.mark.parametrize("source", [{"beir": "scifact", "split": "train"}, {"beir": FILES}], ids=str)
def test_columns_of_a_beir_dataset_need_not_be_named(
    source: dict[str, Any], columns: dict[str, Any], anchor: str
) -> None:
    dataset = Dataset.model_validate({**source, **columns})
    assert (dataset.columns.anchor, dataset.is_fetched) == (anchor, True)
    assert Dataset.model_validate(dataset.model_dump(mode="json")) == dataset


def test_only_a_beir_dataset_goes_without_columns() -> None:
    with pytest.raises(ValidationError, match=r"columns\n  Field required"):
        Dataset.model_validate({"path": "a.csv", "beir": None})
    schema = Dataset.model_json_schema()
    assert ("required" in schema, schema["anyOf"]) == (False, [{"required": ["columns"]}, {"required": ["beir"]}])


def test_one_name_is_short_for_a_list_of_one() -> None:
    dataset = Dataset.model_validate({"path": "a.csv", "columns": {**COLUMNS, "negative": "n"}})
    assert (dataset.path, dataset.columns.negative) == (["a.csv"], ["n"])


@pytest.mark.parametrize(
    ("role", "given", "paths"),
    [
        ("negative", {"list": "n"}, ["negative.as_section.take"]),
        ("negative", {"list": "n", "take": 0}, ["negative.as_section.take"]),
        ("negative", {"list": "n", "take": 1_001}, ["negative.as_section.take"]),
        ("negative", {"list": "n", "take": 3, "otherwise": "fill"}, ["negative.as_section.otherwise"]),
        ("negative", {"lists": "n", "take": 3}, ["negative.as_section.list", "negative.as_section.lists"]),
        ("positive", {"list": "p"}, ["positive.as_section.each"]),
        ("positive", {"list": "p", "each": "epoch"}, ["positive.as_section.each"]),
        ("positive", {"list": ["p"], "each": "row"}, ["positive.as_section.list"]),
    ],
    ids=str,
)
def test_a_list_that_is_not_described_in_full_is_refused(role: str, given: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Dataset.model_validate({"path": "a.csv", "columns": {**COLUMNS, role: given}})
    assert [".".join(map(str, error["loc"][1:])) for error in caught.value.errors()] == paths


def test_a_list_of_negatives_is_written_as_it_is_read() -> None:
    negative = {"list": "n", "take": 3, "otherwise": "drop"}
    columns = {**COLUMNS, "positive": {"list": "p", "each": "row"}, "negative": negative, "label": None}
    assert Columns.model_validate(columns).model_dump(mode="json") == {**columns, "anchor": "q"}


def test_columns_name_at_least_one() -> None:
    with pytest.raises(ValidationError):
        Dataset.model_validate({"path": "a.csv", "columns": {}})


def test_rows_that_were_downloaded_keep_everything_but_their_source() -> None:
    hub = Dataset.model_validate(
        {"hub": "org/rows", "split": "train", "revision": "v1", "columns": COLUMNS, "limit": 7}
    )
    here = hub.at("/tmp/rows.parquet")
    assert here == Dataset.model_validate({"path": "/tmp/rows.parquet", "columns": COLUMNS, "limit": 7})
    assert hub.at("/tmp/rows.parquet", "the rows").origin == "the rows"


@pytest.mark.parametrize(
    "source",
    [
        {"path": "a.csv", "csv": {"delimiter": ";"}},
        {"path": "a.xlsx", "sheet": "one"},
        {"sql": "select 1"},
        {"sql": "select 1", "database": "sqlite:///a.db"},
        {"rows": "birdsong:made", "path": "a.csv"},
        {"beir": "scifact", "split": "train"},
    ],
    ids=str,
)
def test_rows_that_were_written_as_parquet_are_nothing_else(source: dict[str, Any]) -> None:
    given = Dataset.model_validate({**source, "columns": COLUMNS})
    assert given.at("a.parquet") == Dataset.model_validate({"path": "a.parquet", "columns": COLUMNS})


def test_the_time_is_filled_into_every_path_and_query() -> None:
    dataset = {"path": ["{as_of}/a.parquet", "b.parquet"], "columns": COLUMNS}
    query = {"sql": "select {'as_of': q} from 'a.csv' where day < '{as_of}'", "columns": COLUMNS}
    train = {"docs": dataset, "made": query, "joined": {"beir": "{as_of}/scifact", "split": "train"}}
    data = Data.model_validate({"as_of": "2026-11-02", "train": train, "eval": {"docs": dataset}})
    assert data.train["docs"].path == data.eval["docs"].path == ["2026-11-02/a.parquet", "b.parquet"]
    assert data.train["joined"].beir == Beir(folder="2026-11-02/scifact")
    assert data.train["made"].sql == "select {'as_of': q} from 'a.csv' where day < '2026-11-02'"


@pytest.mark.parametrize("moment", ["[[ScheduledTime]]", "{{ ds }}", "yesterday", "2026-13-01"])
def test_a_time_that_is_none_is_refused(moment: str) -> None:
    with pytest.raises(ValidationError):
        Data.model_validate({"as_of": moment, "train": {"docs": {"path": "a.csv", "columns": COLUMNS}}})


HELD_OUT = {"path": "a.csv", "columns": COLUMNS, "transform": "delete_words", "hold_out": {"share": 0.1}}


def test_what_is_held_out_is_an_eval_dataset_that_is_not_stored() -> None:
    data = Data.model_validate({"train": {"docs": HELD_OUT}, "eval": {"more": {"path": "b.csv", "columns": COLUMNS}}})
    assert list(data.eval) == ["more", "docs"]
    assert data.held_out == {"docs"}
    assert data.eval["docs"] == Dataset.model_validate({**HELD_OUT, "transform": None})
    stored = data.model_dump(mode="json")
    assert list(stored["eval"]) == ["more"]
    assert stored["train"]["docs"]["hold_out"] == {"share": 0.1, "by": "anchor", "seed": 42}
    assert Data.model_validate(stored) == data


def test_an_eval_dataset_that_is_written_stays_as_it_is() -> None:
    written = {**HELD_OUT, "columns": {"anchor": "q"}}
    data = Data.model_validate({"train": {"docs": HELD_OUT}, "eval": {"docs": written}})
    assert data.held_out == frozenset()
    assert Data.model_validate(data.model_dump(mode="json")).eval == {"docs": Dataset.model_validate(written)}


def test_an_eval_dataset_keeps_its_rows_where_the_train_dataset_is_left_out() -> None:
    data = Data.model_validate({"train": {"docs": HELD_OUT}})
    alone = data.model_copy(update={"train": {}})
    assert alone.model_dump(mode="json")["eval"]["docs"]["hold_out"] == {"share": 0.1, "by": "anchor", "seed": 42}


@pytest.mark.parametrize(
    "hold_out", [{}, {"share": 0}, {"share": 1}, {"share": -0.1}, {"share": 1.5}, {"share": 0.1, "seed": 0.5}, 0.1],
    ids=str,
)  # fmt: skip
def test_a_share_that_leaves_no_two_sides_is_refused(hold_out: Any) -> None:
    with pytest.raises(ValidationError):
        Dataset.model_validate({**HELD_OUT, "hold_out": hold_out})
