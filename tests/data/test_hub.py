import json
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.hub import hub_benchmarks, hub_datasets, is_cached, is_on_hub, local_sources, named_datasets
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest

COLUMNS = {"anchor": "q", "positive": "p"}
HERE = {"path": "a.parquet", "columns": COLUMNS, "limit": 5}
THERE = {"hub": "org/pairs", "subset": "en", "split": "test", "revision": "main", "columns": COLUMNS, "limit": 7}
DATA = {"train": {"here": HERE, "there": THERE}, "eval": {"there": THERE, "here": HERE}}


def request(**sections: Any) -> TrainRequest:
    document = {"model": "./model", "data": {"train": {"here": HERE}}, "loss": "cosent", **sections}
    return load_request(json.dumps(document))


def test_datasets_come_in_the_order_of_the_request() -> None:
    assert [(split, name) for split, name, _ in named_datasets(request(data=DATA))] == [
        ("train", "here"), ("train", "there"), ("eval", "there"), ("eval", "here"),
    ]  # fmt: skip
    assert [(split, name, item.hub) for split, name, item in hub_datasets(request(data=DATA))] == [
        ("train", "there", "org/pairs"), ("eval", "there", "org/pairs"),
    ]  # fmt: skip
    assert list(hub_datasets(request())) == []


@pytest.mark.parametrize(
    ("model", "on_hub"),
    [
        ("org/model", True),
        ("model", True),
        ("/model", False),
        ("./model", False),
        ("../model", False),
        ("~/model", False),
        ("there", False),
        ("org/there", False),
        ({"static": "org/tokenizer", "dimension": 4}, True),
        ({"static": "./tokenizer.json", "dimension": 4}, False),
    ],
    ids=str,
)
def test_a_model_that_is_no_path_is_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: object, on_hub: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "org" / "there").mkdir(parents=True)
    assert is_on_hub(request(model=model).model) == on_hub


def test_the_files_of_modules_are_sources_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("open\n")
    modules = [
        {"kind": "router", "routes": {"query": [{"kind": "bow", "options": {"vocab": str(tmp_path / "words")}}],
                                      "document": ["transformer", "pooling"]}},
        {"kind": "dense", "options": {"out_features": 4}},
    ]  # fmt: skip
    model = request(model={"path": "org/model", "modules": modules}).model
    assert is_on_hub(model)
    assert local_sources(model, str(tmp_path)) == (tmp_path, tmp_path / "words")
    assert local_sources(model, None) == (tmp_path / "words",)
    own = request(model={"modules": [{"kind": "static_embedding", "options": {"path": "org/model"}}]}).model
    assert not is_on_hub(own)


@pytest.mark.parametrize(
    ("options", "found"),
    [({}, 1), ({"dataset_id": "org/NanoBEIR-de", "dataset_names": ["nq"]}, 1), ({"dataset_id": "./nano"}, 0)],
)
def test_the_data_of_an_evaluator_is_fetched(options: dict[str, Any], found: int) -> None:
    asked = request(evaluators=[{"kind": "nano_beir", "name": "nano", "options": options}])
    assert list(hub_benchmarks(asked)) == [("evaluators.0", options)] * found


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_what_was_fetched_from_the_hub_is_known(tmp_path: Path, variable: str) -> None:
    cache = tmp_path / ("hub" if variable == "HF_HOME" else "")
    (cache / "models--acme--minilm" / "snapshots").mkdir(parents=True)
    assert is_cached("acme/minilm", {variable: str(tmp_path)})
    assert not is_cached("acme/other", {variable: str(tmp_path)})
