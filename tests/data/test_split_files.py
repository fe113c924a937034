"""Files for training and for evaluation, as their names say."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from embedstep.data.split_files import find_splits, split_of
from embedstep.errors import InvalidRequestError

WHERE = "data.train.docs"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"), ("my_train_v2.csv", "train"), ("data/train-00000-of-00001.parquet", "train"),
        ("dev.jsonl", "eval"), ("faq.validation.csv", "eval"), ("val/part-0.parquet", "eval"), ("test.tsv", "test"),
        ("pairs.csv", None), ("training_notes.csv", "train"), ("latest.csv", None), ("devices.csv", None),
        ("s3://bucket/test/0.csv", "test"), ("/home/train/pairs/rows.csv", None),
    ],
)  # fmt: skip
def test_a_name_says_its_split(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["pairs.csv"], {"train": ["pairs.csv"]}),
        (["a.csv", "b.csv"], {"train": ["a.csv", "b.csv"]}),
        (["test.csv"], {"train": ["test.csv"]}),
        (["train.csv", "test.csv"], {"train": ["train.csv"], "eval": ["test.csv"]}),
        (["train.csv", "dev.csv", "test.csv"], {"train": ["train.csv"], "eval": ["dev.csv"], "test": ["test.csv"]}),
        (["dev.csv", "more.csv", "train.csv"], {"train": ["more.csv", "train.csv"], "eval": ["dev.csv"]}),
    ],
)
def test_files_are_divided_by_their_names(names: list[str], found: dict[str, list[str]]) -> None:
    for name in names:
        Path(name).write_text("q,a\nx,y\n")
    splits = find_splits(WHERE, names)
    assert {split: list(one.paths) for split, one in splits.items()} == found
    assert {split: [file.name for file in one.files] for split, one in splits.items()} == found


def test_a_folder_without_splits_stays_a_folder() -> None:
    for name in ("rows/1.csv", "rows/2.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("q,a\nx,y\n")
    assert {split: one.paths for split, one in find_splits(WHERE, ["rows"]).items()} == {"train": ("rows",)}


def test_a_saved_dataset_has_the_splits_that_it_says() -> None:
    table = pa.table({"q": ["x"], "a": ["y"]})
    for split in ("train", "validation", "test"):
        Path("saved", split).mkdir(parents=True)
        Path("saved", split, "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
        with pa.ipc.new_stream(f"saved/{split}/data.arrow", table.schema) as file:
            file.write_table(table)
    Path("saved/dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation", "test"]}))
    found = find_splits(WHERE, ["saved"])
    assert {split: (one.paths, one.split) for split, one in found.items()} == {
        "train": (("saved",), "train"),
        "eval": (("saved",), "validation"),
        "test": (("saved",), "test"),
    }


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"data.train.docs.path: rows.csv does not exist"):
        find_splits(WHERE, ["rows.csv"])
