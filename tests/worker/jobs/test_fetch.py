"""What is fetched from the hub before a rank starts, and how a hub that does not answer is reported."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.request.datasets import Dataset
from embedstep.request.model import Model
from embedstep.worker.jobs import fetch
from embedstep.worker.jobs.fetch import fetch_benchmark, fetch_dataset, fetch_model

ANSWER: Any = SimpleNamespace(status_code=404, headers={}, request=None)


def pairs(path: str) -> Dataset:
    return Dataset.model_validate({"hub": path, "split": "train", "columns": {"anchor": "q", "positive": "a"}})


def test_a_dataset_becomes_a_folder_of_arrow_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes a folder of files for a repository of the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "repository").mkdir()
    rows = [{"q": f"q{row}", "a": f"a{row}"} for row in range(3)]
    (tmp_path / "repository" / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    fetch_dataset(pairs(str(tmp_path / "repository")), tmp_path / "rows", "data.train.docs.hub")
    assert datasets.load_from_disk(str(tmp_path / "rows")).to_list() == [
        {"q": f"q{row}", "a": f"a{row}"} for row in range(3)
    ]


@pytest.mark.parametrize(
    ("answer", "expected", "message"),
    [
        (OSError("no answer"), CannotStartError,
         "model.path: org/model is not a local folder and could not be fetched; is there a network? (no answer)"),
        (RepositoryNotFoundError("404", response=ANSWER), InvalidRequestError,
         "model.path: org/model is not a local folder, and the hub has no such model, or shows it only with an "
         "HF_TOKEN that has access"),
        (RevisionNotFoundError("404", response=ANSWER), InvalidRequestError,
         "model.path: org/model is not a local folder, and the hub has no revision 'v2' of it"),
    ],
)  # fmt: skip
def test_a_model_that_the_hub_lacks_is_refused_and_one_that_it_does_not_send_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, answer: Exception, expected: type[Exception], message: str
) -> None:
    def download(source: str, **options: Any) -> str:
        raise answer

    monkeypatch.setattr(fetch, "snapshot_download", download)
    with pytest.raises(expected) as caught:
        fetch_model(Model(path="org/model", revision="v2"), None)
    assert str(caught.value) == message


def test_an_evaluator_whose_data_cannot_be_fetched_is_exit_3(tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match=r"evaluators\.0: the data of NanoBEIR could not be fetched"):
        fetch_benchmark({"dataset_id": str(tmp_path), "dataset_names": ["nq"]}, "evaluators.0")
