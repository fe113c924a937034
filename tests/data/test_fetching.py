import json
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.fetching import sources_are_valid, with_local_data, without_fetched_data
from embedstep.data.hub import hub_base, hub_datasets
from embedstep.data.scanning import scan_all
from embedstep.errors import CANNOT_START, CannotStartError, InvalidRequestError, Problem
from embedstep.output import job
from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest
from embedstep.runtime.process import LaunchCommand, ProcessEnd
from tests.data.test_hub import DATA, HERE, THERE, request
from tests.model_files import write_model


def no_process(plan: LaunchCommand) -> ProcessEnd:
    raise AssertionError(f"{plan.argv} was started")


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
            "row_function": None, "csv": None, "sql": None, "database": None, "sheet": None, "rows": None,
            "beir": None, "corpus": None, "transform": None, "hold_out": None,
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
    left = without_fetched_data(asked)
    assert list(left.data.train) == ["here"]
    assert list(left.data.eval) == ["here"]
    assert left.data.train["here"] == asked.data.train["here"]
    assert list(asked.data.train) == ["here", "there"]
    assert without_fetched_data(request()) == request()


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


def sql_request(tmp_path: Path, **sections: Any) -> TrainRequest:
    (tmp_path / "docs.csv").write_text("q,a\n" + "".join(f"ask {n},say {n}\n" for n in range(40)))
    sql = f"select q, a from '{tmp_path}/docs.csv' where q <> 'ask 7'"
    query = {"sql": sql, "columns": {"anchor": "q", "positive": "a"}}
    return request(data={"train": {"docs": {**query, **sections}}})


def test_a_query_becomes_a_file_with_its_rows(tmp_path: Path) -> None:
    asked = sql_request(tmp_path, hold_out={"share": 0.2}, limit=5)
    found, model = with_local_data(asked, tmp_path / "hub", with_model=False)
    assert model is None
    local = found.data.train["docs"]
    assert local.path == [str(tmp_path / "hub" / "made-train-docs.arrow")]
    assert (local.sql, local.limit, local.origin) == (None, 5, "the result of the query")
    assert found.data.eval["docs"].path == local.path
    assert found.data.held_out == {"docs"}
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["made-train-docs.arrow"]
    assert list(without_fetched_data(asked).data.train) == []
    facts, problems = scan_all(found, None, {})
    assert (problems, facts[0].rows + facts[1].rows, facts[0].held_out_rows) == ([], 5, facts[1].rows)


def test_rows_of_a_query_are_named_by_it_in_messages(tmp_path: Path) -> None:
    asked = sql_request(tmp_path, columns={"anchor": "q", "positive": "answer"})
    found, _ = with_local_data(asked, tmp_path / "hub", with_model=False)
    assert scan_all(found, None, {})[1] == [
        Problem("data.train.docs.columns.positive",
                "the result of the query has no column 'answer'; its columns are q, a")
    ]  # fmt: skip


def test_judged_pairs_become_a_file_with_their_rows(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "ask"}\n')
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "say"}\n')
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    asked = request(data={"train": {"docs": {"beir": str(tmp_path), "split": "train"}}})
    found, _ = with_local_data(asked, tmp_path / "hub", with_model=False)
    local = found.data.train["docs"]
    assert local.path == [str(tmp_path / "hub" / "made-train-docs.arrow")]
    assert (local.beir, local.split, local.origin) == (None, None, "the judged pairs of BEIR")
    facts, problems = scan_all(found, None, {})
    assert (problems, facts[0].rows, list(facts[0].columns)) == ([], 1, ["anchor", "positive"])


def test_all_queries_are_tried_before_one_is_refused(tmp_path: Path) -> None:
    columns = {"anchor": "q", "positive": "a"}
    absent = {"sql": "select 1 as q from 'absent.csv'", "columns": columns}
    closed = {"sql": "select q, a from t", "database": f"sqlite:///{tmp_path}/absent.db", "columns": columns}
    asked = request(data={"train": {"files": absent, "database": closed}})
    with pytest.raises(InvalidRequestError) as caught:
        with_local_data(asked, tmp_path, with_model=False)
    assert list(caught.value.problems) == [
        Problem("data.train.files.sql", "reads absent.csv, which does not exist"),
        Problem("data.train.database.database", f"{tmp_path}/absent.db does not exist"),
    ]


def test_what_is_no_query_is_found_without_its_data() -> None:
    columns = {"anchor": "q", "positive": "a"}
    written = {"sql": "drop table t", "columns": columns}
    asked = request(data={"train": {
        "files": {**written, "hold_out": {"share": 0.1}}, "database": {**written, "database": "sqlite:///t.db"},
        "made": {**HERE, "row_function": "none_such"}, "source": {"rows": "none_such", "columns": columns},
    }})  # fmt: skip
    assert [str(problem) for problem in sources_are_valid(asked)] == [
        "data.train.files.sql: is a statement of the kind DROP; write one SELECT, which only reads",
        "data.train.database.sql: begins with drop; write one SELECT, which only reads",
        "data.train.source.rows.kind: no source of rows is named 'none_such'",
        "data.train.made.row_function.kind: no row function is named 'none_such'",
    ]
