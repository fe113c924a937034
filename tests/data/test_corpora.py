"""Documents that are in no row of the dataset whose evaluator searches them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.data.fetching import with_local_data
from embedstep.data.scanning import scan_all
from embedstep.errors import Problem
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from tests.data.test_beir import CORPUS, QRELS, write_folder
from tests.data.test_queries import read

ROWS = {"path": "rows.csv", "columns": {"anchor": "q", "positive": "a"}}


def request(**held_out: Any) -> TrainRequest:
    Path("rows.csv").write_text("q,a\nask,say\nbeg,give\n")
    Path("documents.csv").write_text("a,text\none,Eins\ntwo,\nsay,Zwei\n")
    return load_request(json.dumps({
        "model": "./model", "loss": "cosent",
        "data": {"train": {"docs": ROWS}, "eval": {"docs": {**ROWS, **held_out}}},
        "evaluators": [{"kind": "information_retrieval", "name": "docs", "dataset": "docs"}],
    }))  # fmt: skip


def scan(**held_out: Any) -> DatasetFacts:
    local, _ = with_local_data(request(**held_out), Path("fetched"), with_model=False)
    facts, problems = scan_all(local, Path("rows"), {})
    assert problems == []
    assert facts[0].corpus is None
    return facts[1]


@pytest.mark.parametrize(
    ("corpus", "documents"),
    [
        ("documents.csv", ["one", "two", "say"]),
        ({"path": "documents.csv", "column": "text"}, ["Eins", "Zwei"]),
        ({"path": ["documents.csv", "rows.csv"]}, ["one", "two", "say", "say", "give"]),
    ],
    ids=str,
)
def test_a_corpus_is_written_to_a_file_of_its_own(corpus: object, documents: list[str]) -> None:
    plain, found = scan(), scan(corpus=corpus)
    assert (plain.rows, found.rows, plain.corpus_documents, found.corpus_documents) == (2, 2, 0, len(documents))
    assert found.corpus == str(Path("rows") / "eval-docs.corpus.arrow")
    assert [text for (text,) in read(Path(found.corpus))] == documents
    assert found.fingerprint != plain.fingerprint


def test_a_beir_dataset_has_its_whole_corpus() -> None:
    write_folder({"qrels/test.tsv": QRELS})
    found = scan(path=None, columns=None, beir="scifact", split="test")
    assert (found.rows, found.corpus_documents, found.corpus) == (3, 4, str(Path("rows") / "eval-docs.corpus.arrow"))
    assert [text for (text,) in read(Path(str(found.corpus)))] == [
        f"{row['title']} {row['text']}".strip() for row in CORPUS
    ]


def test_what_is_wrong_with_a_corpus_is_said_at_its_field() -> None:
    for corpus, problem in (
        ("absent.csv", Problem("data.eval.docs.corpus", "absent.csv does not exist")),
        ({"path": "documents.csv", "column": "b"}, Problem(
            "data.eval.docs.corpus.column", "documents.csv has no column 'b'; its columns are a, text"
        )),
    ):  # fmt: skip
        assert scan_all(request(corpus=corpus), None, {})[1] == [problem]


def test_a_plan_counts_the_documents_and_names_no_file(plan_request: Callable[..., Plan], evaluated: Any) -> None:
    pq.write_table(pa.table({"positive": ["one", "two", None]}), "documents.parquet")
    data = evaluated()["data"]
    data["eval"]["docs"]["corpus"] = "documents.parquet"
    plan = plan_request(data=data, evaluators=evaluated()["evaluators"])
    assert [(item.split, item.corpus, item.corpus_documents) for item in plan.datasets] == [
        ("train", None, 0), ("eval", None, 2),
    ]  # fmt: skip
