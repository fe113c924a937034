import json
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.hub import (
    hub_base,
    hub_benchmarks,
    hub_datasets,
    is_cached,
    is_on_hub,
    local_sources,
    named_datasets,
    with_local_data,
    without_hub_data,
)
from embedstep.errors import CANNOT_START, CannotStartError, InvalidRequestError
from embedstep.output import job
from embedstep.request.loading import load_request
from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest
from embedstep.runtime.process import LaunchCommand, ProcessEnd
from tests.model_files import write_model

COLUMNS = {"anchor": "q", "positive": "p"}
HERE = {"path": "a.parquet", "columns": COLUMNS, "limit": 5}
THERE = {"hub": "org/pairs", "subset": "en", "split": "test", "revision": "main", "columns": COLUMNS, "limit": 7}
DATA = {"train": {"here": HERE, "there": THERE}, "eval": {"there": THERE, "here": HERE}}


def request(**sections: Any) -> TrainRequest:
    document = {"model": "./model", "data": {"train": {"here": HERE}}, "loss": "cosent", **sections}
    return load_request(json.dumps(document))


def no_process(plan: LaunchCommand) -> ProcessEnd:
    raise AssertionError(f"{plan.argv} was started")


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


@pytest.mark.parametrize("with_model", [True, False])
def test_a_request_without_the_hub_comes_back_as_it_is_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_model: bool
) -> None:
    monkeypatch.setattr(job, "run_process", no_process)
    asked = request()
    found, model = with_local_data(asked, tmp_path / "hub", with_model=with_model)
    assert found is asked
    assert model is None
    assert not (tmp_path / "hub").exists()


def test_a_plan_does_not_fetch_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "run_process", no_process)
    asked = request(model="org/model")
    assert with_local_data(asked, tmp_path, with_model=False) == (asked, None)


def test_what_was_fetched_takes_the_place_of_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: dict[str, Any] = {}

    def fetch(plan: LaunchCommand) -> ProcessEnd:
        folder = Path(plan.argv[-1])
        assert plan.argv[1:-1] == ("-m", "embedstep.worker.jobs.fetch")
        wanted.update(json.loads((folder / "job.json").read_text()))
        places = {"model": "/cache/model", "train.there": "/rows/train", "eval.there": "/rows/eval"}
        (folder / "result.json").write_text(json.dumps(places))
        return ProcessEnd(code=0)

    monkeypatch.setattr(job, "run_process", fetch)
    asked = request(model="org/model", data=DATA)
    found, model = with_local_data(asked, tmp_path / "deep" / "hub", with_model=True)
    assert model == "/cache/model"
    assert wanted["model"] is True
    assert TrainRequest.model_validate(wanted["request"]).data == asked.data
    assert found.data.train["here"] == asked.data.train["here"]
    for split, dataset in (("train", found.data.train["there"]), ("eval", found.data.eval["there"])):
        assert dataset.model_dump(exclude={"columns"}) == {
            "path": [f"/rows/{split}"], "hub": None, "subset": None, "split": None, "revision": None, "limit": 7,
            "row_function": None, "csv": None, "transform": None, "hold_out": None,
        }  # fmt: skip
        assert dataset.columns.anchor == "q"
    assert asked.data.train["there"].hub == "org/pairs"


@pytest.mark.parametrize(
    ("left", "code", "error", "message"),
    [
        (
            {"problems": ["data.train.there.hub: org/pairs cannot be loaded: no split", "odd"], "message": "x"},
            2,
            InvalidRequestError,
            "data.train.there.hub: org/pairs cannot be loaded: no split\nodd",
        ),
        ({"problems": [], "message": "the hub did not answer"}, 3, CannotStartError, "the hub did not answer"),
        (None, 1, CannotStartError, "fetching from the hub ended with code 1; see the output above"),
        (None, -9, CannotStartError, "fetching from the hub ended with code -9; see the output above"),
    ],
)
def test_a_failed_fetch_ends_in_the_error_that_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    left: dict[str, Any] | None,
    code: int,
    error: type[Exception],
    message: str,
) -> None:
    def fail(plan: LaunchCommand) -> ProcessEnd:
        if left is not None:
            (Path(plan.argv[-1]) / "failure.json").write_text(json.dumps(left))
        return ProcessEnd(code=code)

    monkeypatch.setattr(job, "run_process", fail)
    with pytest.raises(error) as caught:
        with_local_data(request(data=DATA), tmp_path, with_model=False)
    assert str(caught.value) == message


def test_a_hub_that_is_away_cannot_start(tmp_path: Path) -> None:
    # A real process; the tests are offline, which the libraries take for a hub that does not answer.
    with pytest.raises(CannotStartError, match="org/pairs could not be fetched") as caught:
        with_local_data(request(data={"train": {"there": THERE}}), tmp_path, with_model=False)
    assert caught.value.exit_code == CANNOT_START


def test_a_request_less_its_hub_data_has_only_what_is_here() -> None:
    asked = request(data=DATA)
    left = without_hub_data(asked)
    assert list(left.data.train) == ["here"]
    assert list(left.data.eval) == ["here"]
    assert left.data.train["here"] == asked.data.train["here"]
    assert list(asked.data.train) == ["here", "there"]
    assert without_hub_data(request()) == request()


def test_a_guide_is_fetched_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks find it in the cache by its id, so that the request stays as it is."""
    wanted: dict[str, Any] = {}

    def serve(plan: LaunchCommand) -> ProcessEnd:
        folder = Path(plan.argv[-1])
        wanted.update(json.loads((folder / "job.json").read_text()))
        (folder / "result.json").write_text("{}")
        return ProcessEnd(code=0)

    monkeypatch.setattr(job, "run_process", serve)
    guided = {"kind": "gist_embed", "options": {"guide": "org/guide"}}
    asked = request(loss={"kind": "matryoshka", "options": {"matryoshka_dims": [8]}, "loss": guided})
    assert with_local_data(asked, tmp_path, with_model=False) == (asked, None)
    assert wanted == {}
    assert with_local_data(asked, tmp_path, with_model=True) == (asked, None)

    from embedstep.worker.jobs import fetch

    fetched: list[tuple[str, Any]] = []

    def download(source: str, **options: Any) -> str:
        fetched.append((source, options))
        return "folder"

    monkeypatch.setattr(fetch, "snapshot_download", download)
    assert fetch.fetch(TrainRequest.model_validate(wanted["request"]), tmp_path, wanted["model"]) == {}
    assert fetched == [("org/guide", {"revision": None, "local_dir": None})]
    monkeypatch.setattr(fetch, "snapshot_download", unreachable)
    with pytest.raises(CannotStartError, match=r"loss\.loss\.options.guide: org/guide is not a local folder"):
        fetch.fetch(asked, tmp_path, with_model=True)


@pytest.mark.parametrize(
    ("options", "found"),
    [({}, 1), ({"dataset_id": "org/NanoBEIR-de", "dataset_names": ["nq"]}, 1), ({"dataset_id": "./nano"}, 0)],
)
def test_the_data_of_an_evaluator_is_fetched(options: dict[str, Any], found: int) -> None:
    asked = request(evaluators=[{"kind": "nano_beir", "name": "nano", "options": options}])
    assert list(hub_benchmarks(asked)) == [("evaluators.0", options)] * found


def unreachable(source: str, **options: Any) -> str:
    raise OSError("no answer")


def test_the_base_of_an_adapter_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = write_model(tmp_path / "adapter")
    (adapter / "config.json").unlink()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base", "revision": "v1"}')
    found = hub_base(Model(path=str(adapter)), None)
    assert found is not None
    assert (found.base, found.revision) == ("org/base", "v1")
    assert hub_base(Model(path="org/adapter"), str(adapter)) == found
    assert hub_base(Model(path=str(write_model(tmp_path / "model"))), None) is None
    monkeypatch.chdir(adapter)  # of a model without a path no folder is read, not the current one either
    assert hub_base(Model.model_validate({"modules": [{"kind": "bow", "options": {"vocab": ["a"]}}]}), None) is None
    # A real process, which has no hub to ask.
    with pytest.raises(CannotStartError, match=r"model\.path: org/base is not a local folder and could not be fetched"):
        with_local_data(request(model=str(adapter)), tmp_path / "hub", with_model=True)


def test_what_a_dataset_of_the_hub_holds_out_is_fetched_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(plan: LaunchCommand) -> ProcessEnd:
        (Path(plan.argv[-1]) / "result.json").write_text(json.dumps({"train.there": "/rows/train"}))
        return ProcessEnd(code=0)

    monkeypatch.setattr(job, "run_process", fetch)
    asked = request(data={"train": {"there": {**THERE, "hold_out": {"share": 0.1}}}})
    assert [(split, name) for split, name, _ in hub_datasets(asked)] == [("train", "there")]
    found, _ = with_local_data(asked, tmp_path, with_model=False)
    assert found.data.train["there"].path == found.data.eval["there"].path == ["/rows/train"]
    assert found.data.held_out == {"there"}


def test_only_the_splits_that_are_asked_for_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: dict[str, Any] = {}

    def fetch(plan: LaunchCommand) -> ProcessEnd:
        folder = Path(plan.argv[-1])
        wanted.update(json.loads((folder / "job.json").read_text()))
        (folder / "result.json").write_text(json.dumps({"eval.there": "/rows/eval"}))
        return ProcessEnd(code=0)

    monkeypatch.setattr(job, "run_process", fetch)
    asked = request(data={"train": {"there": {**THERE, "hold_out": {"share": 0.1}}}})
    assert [(split, name) for split, name, _ in hub_datasets(asked, ["eval"])] == [("eval", "there")]
    found, _ = with_local_data(asked, tmp_path, with_model=False, splits=["eval"])
    assert (TrainRequest.model_validate(wanted["request"]).data, wanted["splits"]) == (asked.data, ["eval"])
    assert (found.data.train["there"].hub, found.data.eval["there"].path) == ("org/pairs", ["/rows/eval"])
    assert with_local_data(asked, tmp_path, with_model=False, splits=[]) == (asked, None)


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_what_was_fetched_from_the_hub_is_known(tmp_path: Path, variable: str) -> None:
    cache = tmp_path / ("hub" if variable == "HF_HOME" else "")
    (cache / "models--acme--minilm" / "snapshots").mkdir(parents=True)
    assert is_cached("acme/minilm", {variable: str(tmp_path)})
    assert not is_cached("acme/other", {variable: str(tmp_path)})
