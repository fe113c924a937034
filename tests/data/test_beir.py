"""Queries, a corpus and judgements become the rows of the judged pairs."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data import beir
from embedstep.data.beir import write_judged_pairs
from embedstep.errors import InvalidRequestError
from embedstep.planning.plan import Plan
from embedstep.request.datasets import Dataset
from tests.data.test_queries import read

QUERIES = [{"_id": "q1", "text": "open a file"}, {"_id": "q2", "text": "sort a list"}, {"_id": "q3", "text": "unused"}]
CORPUS = [
    {"_id": "d1", "title": "open", "text": "Open a file and return a stream."},
    {"_id": "d2", "title": "", "text": "Sort the list in place."},
    {"_id": "d3", "title": "sorted", "text": "Return a new sorted list."},
    {"_id": "d4", "title": "close", "text": "Close a file."},
]
QRELS = "query-id\tcorpus-id\tscore\nq2\td3\t1\nq1\td1\t2\nq1\td4\t0\nq2\td2\t1\n"
ROWS = [
    ("sort a list", "sorted Return a new sorted list.", 1.0),
    ("open a file", "open Open a file and return a stream.", 2.0),
    ("sort a list", "Sort the list in place.", 1.0),
]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def write_folder(files: Mapping[str, str | bytes]) -> None:
    """Write a dataset with the split `train`; files of other names are added, and empty ones left out."""
    standard = {"queries.jsonl": lines(QUERIES), "corpus.jsonl": lines(CORPUS), "qrels/train.tsv": QRELS}
    for name, content in {**standard, **files}.items():
        file = Path("scifact") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if content:
            file.write_bytes(content.encode() if isinstance(content, str) else content)


def joined(**given: Any) -> list[tuple[Any, ...]]:
    dataset = Dataset.model_validate({"beir": "scifact", "split": "train", **given})
    write_judged_pairs("data.train.docs", dataset, Path("rows.arrow"))
    return read(Path("rows.arrow"))


NUMBERED = [{**row, "_id": number} for number, row in enumerate(CORPUS, start=1)]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"corpus.jsonl": "", "corpus.jsonl.gz": gzip.compress(lines(CORPUS).encode())},
        {"corpus.jsonl": "", "corpus.parquet": parquet(CORPUS),
         "queries.jsonl": "", "queries.parquet": parquet(QUERIES)},
        {"corpus.jsonl": lines([{**row, "metadata": {"url": "x"}} for row in CORPUS])},
        {"corpus.jsonl": lines([{"id": row["_id"], "title": row["title"] or None, "text": row["text"]}
                                for row in CORPUS])},
        {"corpus.jsonl": lines(NUMBERED), "qrels/train.tsv": QRELS.replace("\td", "\t")},
        {"corpus.jsonl": "", "corpus.parquet": parquet(NUMBERED), "qrels/train.tsv": QRELS.replace("\td", "\t")},
        {"qrels/train.tsv": QRELS.replace("-", "_").replace("2\n", "2.0\n")},
        {"README.md": "notes", "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n"},
    ],
    ids=["jsonl", "gz", "parquet", "metadata", "null-title", "integers", "parquet-integers", "names", "more-files"],
)  # fmt: skip
def test_each_judged_pair_is_a_row_in_the_order_of_the_judgements(files: dict[str, str | bytes]) -> None:
    write_folder(files)
    assert joined() == ROWS


def test_files_may_be_named_one_by_one_and_have_other_places() -> None:
    write_folder({"qrels/train.tsv": "", "judged.csv": QRELS.replace("\t", ",")})
    files = {"queries": "scifact/queries.jsonl", "corpus": "scifact/corpus.jsonl", "qrels": "scifact/judged.csv"}
    assert joined(beir=files, split=None) == ROWS
    assert joined(beir={kind: f"file://{Path(path).absolute()}" for kind, path in files.items()}, split=None) == ROWS


def test_a_folder_may_be_at_a_url() -> None:
    write_folder({})
    assert joined(beir=f"file://{Path('scifact').absolute()}/") == ROWS


def test_titles_that_the_first_rows_lack_are_found() -> None:
    without = [{"_id": f"x{number}", "text": f"text {number}"} for number in range(200)]
    write_folder({"corpus.jsonl": lines([*without, *CORPUS])})
    assert joined() == ROWS


def test_a_column_of_text_only_has_no_title() -> None:
    columns = [{"_id": row["_id"], "text": row["text"]} for row in CORPUS]
    write_folder({"corpus.jsonl": "", "corpus.parquet": parquet(columns)})
    assert [row[1] for row in joined()] == [CORPUS[2]["text"], CORPUS[0]["text"], CORPUS[1]["text"]]


def test_pairs_are_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beir, "_WRITTEN_ROWS", 2)
    write_folder({})
    assert joined() == ROWS


MANY = "query-id\tcorpus-id\tscore\n" + "".join(f"q1\tx{number}\t1\n" for number in range(1, 8))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"qrels/train.tsv": MANY}, [
            "beir: scifact/corpus.jsonl lacks 7 of the 7 ids in scifact/qrels/train.tsv: "
            "'x1', 'x2', 'x3', 'x4', 'x5', ..."
        ]),
        ({"qrels/train.tsv": QRELS + "q8\td9\t1\nq9\td9\t0\n"}, [
            "beir: scifact/queries.jsonl lacks 1 of the 3 ids in scifact/qrels/train.tsv: 'q8'",
            "beir: scifact/corpus.jsonl lacks 1 of the 4 ids in scifact/qrels/train.tsv: 'd9'",
        ]),
        ({"corpus.jsonl": lines([*CORPUS, CORPUS[3], CORPUS[1]]), "queries.jsonl": lines([*QUERIES, QUERIES[2]])}, [
            "beir: scifact/queries.jsonl has 1 id more than once: 'q3'",
            "beir: scifact/corpus.jsonl has 2 ids more than once: 'd2', 'd4'",
        ]),
        ({"qrels/train.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t0\nq2\td2\t-1\n"},
         ["beir: scifact/qrels/train.tsv has no pair with a score above 0 among 2"]),
        ({"qrels/train.tsv": "query-id\tcorpus-id\tscore\n"}, ["beir: scifact/qrels/train.tsv has no rows"]),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(files: dict[str, str | bytes], expected: list[str]) -> None:
    write_folder(files)
    with pytest.raises(InvalidRequestError) as caught:
        joined()
    assert [str(problem) for problem in caught.value.problems] == [f"data.train.docs.{message}" for message in expected]
    assert not Path("rows.arrow").exists()


def test_a_beir_folder_is_planned_as_its_rows_in_a_file(plan_request: Callable[..., Plan], tmp_path: Path) -> None:
    documents = [{"_id": f"d{number}", "title": "", "text": f"say {number}"} for number in range(50)]
    queries = [{"_id": f"q{number}", "text": f"ask {number}"} for number in range(40)]
    pairs = "".join(f"q{number}\td{number}\t1\n" for number in range(40))
    write_folder({
        "corpus.jsonl": lines(documents), "queries.jsonl": lines(queries),
        "qrels/train.tsv": f"query-id\tcorpus-id\tscore\n{pairs}",
    })  # fmt: skip
    rows = pa.table({"q": [f"ask {n}" for n in range(40)], "a": [f"say {n}" for n in range(40)]})
    pq.write_table(rows, "rows.parquet")
    plain = {"path": "rows.parquet", "columns": {"anchor": "q", "positive": "a"}}
    here, there = (
        plan_request(data={"train": {"docs": {**one, "hold_out": {"share": 0.1}}}}).datasets
        for one in ({"beir": "scifact", "split": "train"}, plain)
    )
    assert [(item.rows, item.fingerprint) for item in here] == [(item.rows, item.fingerprint) for item in there]
    assert sum(item.rows for item in here) == 40
