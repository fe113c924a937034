"""What a model says of itself, without the places of the machine that trained it."""

from pathlib import Path

import pytest

from embedstep.output.provenance import FILE, read_provenance, without_local_paths, write_provenance


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("/data/rows/train.csv", "train.csv"),
        ("~/rows/train.csv", "train.csv"),
        ("/data/some rows/train.csv", "train.csv"),
        ("data/train.csv", "data/train.csv"),
        ("s3://bucket/rows/train.csv", "s3://bucket/rows/train.csv"),
        ("https://host/rows/train.csv", "https://host/rows/train.csv"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("select a from '/data/rows/*.csv' where b = 'c/d'", "select a from '*.csv' where b = 'c/d'"),
        ("/no_think", "/no_think"),  # a prompt
        ("either / or", "either / or"),
        ("sqlite:////home/me/mlflow.db", None),
        (3, 3),
        (None, None),
    ],
)
def test_of_an_absolute_path_the_last_part_is_left(given: object, left: object) -> None:
    assert without_local_paths({"a": [given]}) == {"a": [left]}


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) is None
    write_provenance(tmp_path, {"request": {"model": {"path": "/models/minilm"}}})
    assert read_provenance(tmp_path) == {"format": "embedstep.model/1", "request": {"model": {"path": "minilm"}}}


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "embedstep.model/9"}', '"text"'])
def test_a_file_of_another_kind_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_provenance(tmp_path) is None
