"""The files of a BEIR dataset: in a folder, or named one by one."""

from typing import Any

import pytest

from embedstep.data.beir_files import as_text, find_beir_files, read_beir_file
from embedstep.errors import InvalidRequestError
from embedstep.request.datasets import Dataset
from tests.data.test_beir import CORPUS, lines, parquet, write_folder


def read_all(**given: Any) -> dict[str, list[Any]]:
    """Return the first column of each file, read with all its columns."""
    dataset = Dataset.model_validate({"beir": "scifact", "split": "train", **given})
    files = find_beir_files("data.train.docs", dataset)
    return {
        kind: [
            text for batch in read_beir_file("data.train.docs", file) for text in as_text(batch.column(0)).to_pylist()
        ]
        for kind, file in files.items()
    }


def test_each_file_has_its_ids() -> None:
    write_folder({})
    ids = {"queries": ["q1", "q2", "q3"], "corpus": ["d1", "d2", "d3", "d4"], "qrels": ["q2", "q1", "q1", "q2"]}
    assert read_all() == ids
    corpus = {"queries": "scifact/queries.jsonl", "corpus": "scifact/corpus.*", "qrels": "scifact/qrels/train.tsv"}
    assert read_all(beir=corpus, split=None) == ids


@pytest.mark.parametrize(
    ("files", "given", "expected"),
    [
        ({}, {"split": "tran"},
         ["split: scifact has no split 'tran'; its splits are train; did you mean train?"]),
        ({"qrels/train.tsv": ""}, {}, ["split: scifact has no split 'train'; it has no qrels/*.tsv"]),
        ({"queries.jsonl": "", "corpus.jsonl": "", "notes.md": "x"}, {}, [
            "beir: scifact has no queries.jsonl, queries.jsonl.gz or queries.parquet; its files are notes.md",
            "beir: scifact has no corpus.jsonl, corpus.jsonl.gz or corpus.parquet; its files are notes.md",
        ]),
        ({"corpus.parquet": parquet(CORPUS)}, {},
         ["beir: scifact has corpus.jsonl and corpus.parquet; remove all but one"]),
        ({}, {"beir": "absent"}, ["beir: absent does not exist"]),
        ({}, {"beir": "scifact/corpus.jsonl"}, [
            "beir: scifact/corpus.jsonl is not a folder; name each file, such as "
            "beir: {queries: ..., corpus: ..., qrels: ...}"
        ]),
        ({}, {"split": None, "beir": {"queries": "a.jsonl", "corpus": "scifact/corpus.jsonl", "qrels": "b.tsv"}},
         ["beir: a.jsonl does not exist", "beir: b.tsv does not exist"]),
        ({"qrels/train.tsv": "q1\td1\t1\n"}, {}, [
            "beir: scifact/qrels/train.tsv has no column query-id or query_id; its columns are q1, d1, 1",
            "beir: scifact/qrels/train.tsv has no column corpus-id or corpus_id; its columns are q1, d1, 1",
            "beir: scifact/qrels/train.tsv has no column score; its columns are q1, d1, 1",
        ]),
        ({"corpus.jsonl": lines([{"docid": "d1", "contents": "x"}])}, {}, [
            "beir: scifact/corpus.jsonl has no column _id, id, corpus-id or corpus_id; its columns are docid, contents",
            "beir: scifact/corpus.jsonl has no column text; its columns are docid, contents",
        ]),
        ({"corpus.jsonl": lines([{"_id": number, "text": "x"} for number in (1, 4.5)])}, {},
         ["beir: scifact/corpus.jsonl has ids that are neither texts nor integers"]),
    ],
)  # fmt: skip
def test_files_and_columns_that_are_not_there_are_refused(
    files: dict[str, str | bytes], given: dict[str, Any], expected: list[str]
) -> None:
    write_folder(files)
    with pytest.raises(InvalidRequestError) as caught:
        read_all(**given)
    found = [str(problem).removeprefix("data.train.docs.") for problem in caught.value.problems]
    assert found == expected
