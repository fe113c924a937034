"""Against a real MLflow with its own database; nothing is replaced."""

import json
import math
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import CANNOT_START, REFUSED, CannotStartError, RefusedError
from embedstep.request.schema import Tracking
from embedstep.tracking.run import NullRun, Run, RunAddress, end_run, open_run


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database in a folder of its own; making one takes seconds, so the tests share it."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is away is away at once, and no test finds a server in the environment."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def client_of(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def opened(uri: str, **more: Any) -> Run:
    return open_run(Tracking.model_validate({"uri": uri, "experiment": "tests", **more}))


def address_of(run: Run) -> RunAddress:
    assert run.address is not None
    return run.address


def found(run: Run) -> Any:
    """The run as the database has it."""
    address = address_of(run)
    return client_of(address.uri).get_run(address.run_id)


@pytest.fixture
def run(uri: str) -> Iterator[Run]:
    """An open run."""
    run = opened(uri)
    yield run
    run.finish("FINISHED")


@pytest.fixture(scope="module")
def nobody() -> str:
    """A server on this machine that is away."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return f"127.0.0.1:{port}"


def test_a_run_has_the_name_the_tags_and_the_experiment_of_the_request(uri: str) -> None:
    run = opened(uri, run_name="one", tags={"team": "search"})
    data = found(run)
    assert address_of(run) == RunAddress(kind="mlflow", uri=uri, run_id=data.info.run_id)
    assert (data.info.status, data.info.run_name, data.data.tags["team"]) == ("RUNNING", "one", "search")
    experiment = client_of(uri).get_experiment_by_name("tests")
    assert data.info.experiment_id == experiment.experiment_id
    beside = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    assert experiment.artifact_location == beside.as_uri()
    run.finish("FINISHED")
    assert found(run).info.status == "FINISHED"
    assert run.complaints == []


def test_runs_of_one_experiment_stand_together(uri: str) -> None:
    one, other = opened(uri), opened(uri)
    assert found(one).info.experiment_id == found(other).info.experiment_id
    assert address_of(one).run_id != address_of(other).run_id
    one.finish("FAILED")
    other.finish("KILLED")
    assert (found(one).info.status, found(other).info.status) == ("FAILED", "KILLED")


def test_more_than_a_hundred_parameters_and_long_values_arrive(run: Run) -> None:
    parameters = {f"p{number}": number for number in range(250)}
    run.log_parameters({**parameters, "long": "x" * 7000, "limit": "y" * 6000, "none": None, "list": [1, 2]})
    params = found(run).data.params
    assert run.complaints == []
    assert len(params) == 254
    assert {name: params[name] for name in parameters} == {name: str(value) for name, value in parameters.items()}
    assert (params["none"], params["list"], params["limit"]) == ("None", "[1, 2]", "y" * 6000)
    assert params["long"].endswith("x… (7000 characters)")
    assert len(params["long"]) == 6000


def test_metrics_arrive_with_their_step_and_a_name_that_mlflow_takes(run: Run) -> None:
    run.log_metrics({"eval_docs_cosine_ndcg@10": 0.25, "loss": 1}, train_step=10)
    run.log_metrics({"eval_docs_cosine_ndcg@10": 0.5}, train_step=20)
    assert run.complaints == []
    address = address_of(run)
    history = client_of(address.uri).get_metric_history(address.run_id, "eval_docs_cosine_ndcg_at_10")
    assert [(point.step, point.value) for point in history] == [(10, 0.25), (20, 0.5)]
    assert found(run).data.metrics == {"eval_docs_cosine_ndcg_at_10": 0.5, "loss": 1.0}


def test_numbers_that_are_not_finite_are_left_out(run: Run) -> None:
    run.log_metrics({"loss": math.nan, "grad_norm": math.inf, "low": -math.inf, "rate": 0.1}, train_step=1)
    run.log_metrics({"loss": math.nan}, train_step=2)
    assert found(run).data.metrics == {"rate": 0.1}
    assert run.complaints == []


def test_files_arrive_at_the_top_of_the_artifacts(run: Run, tmp_path: Path) -> None:
    for name in ("request.json", "plan.json"):
        (tmp_path / name).write_text(json.dumps({"name": name}))
    run.log_files([tmp_path / "request.json", tmp_path / "plan.json"])
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    address = address_of(run)
    client = client_of(address.uri)
    assert {item.path for item in client.list_artifacts(address.run_id)} == {"request.json", "plan.json"}
    local = client.download_artifacts(address.run_id, "plan.json", str(downloads))
    assert json.loads(Path(local).read_text()) == {"name": "plan.json"}
    assert run.complaints == []


def test_what_cannot_be_recorded_is_a_complaint_and_no_exception(uri: str, tmp_path: Path) -> None:
    run = opened(uri)
    (tmp_path / "there.json").write_text("{}")
    run.log_files([tmp_path / "none.json", tmp_path / "there.json"])
    run.log_parameters({"seed": 1})
    run.log_parameters({"seed": 2})
    run.log_metrics({"loss": 0.5}, train_step=1)
    run.finish("FINISHED")
    missing, changed = run.complaints
    assert missing.startswith("none.json: ")
    assert changed.startswith("parameters: ")
    data = found(run)
    assert data.info.status == "FINISHED"
    assert data.data.metrics == {"loss": 0.5}
    assert data.data.params == {"seed": "1"}
    assert data.data.tags["embedstep.incomplete"].startswith("none.json: ")
    assert [item.path for item in client_of(uri).list_artifacts(data.info.run_id)] == ["there.json"]


def test_a_tracker_that_goes_away_does_not_end_the_run(uri: str, tmp_path: Path) -> None:
    run = opened(uri)
    client = client_of(uri)
    client.delete_run(address_of(run).run_id)
    (tmp_path / "a.json").write_text("{}")
    run.log_parameters({"seed": 1})
    run.log_metrics({"loss": 0.5}, train_step=1)
    run.finish("FINISHED")
    assert [complaint.partition(":")[0] for complaint in run.complaints] == [
        "parameters", "metrics", "a tag", "the end of the run",
    ]  # fmt: skip
    assert "\n" not in "".join(run.complaints)


def test_an_open_run_whose_process_is_gone_gets_its_last_status(uri: str) -> None:
    run = opened(uri)
    end_run(address_of(run), "KILLED")
    assert found(run).info.status == "KILLED"


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_launcher_has_the_last_word_about_a_run(uri: str, status: Any) -> None:
    run = opened(uri)
    run.finish(status)
    end_run(address_of(run), "KILLED")
    assert found(run).info.status == "KILLED"


def test_a_run_that_is_not_there_cannot_be_ended(uri: str) -> None:
    with pytest.raises(CannotStartError, match="tracking: the run 0000 could not be ended: "):
        end_run(RunAddress(kind="mlflow", uri=uri, run_id="0000"), "FAILED")


def test_a_deleted_experiment_is_refused(uri: str) -> None:
    opened(uri, experiment="gone").finish("FINISHED")
    client = client_of(uri)
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)
    with pytest.raises(RefusedError) as caught:
        opened(uri, experiment="gone")
    assert caught.value.exit_code == REFUSED
    assert str(caught.value) == ("tracking.experiment: 'gone' was deleted in MLflow; restore it or name another")


def test_the_request_s_uri_wins_over_the_environment_s_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedstep.tracking.mlflow import tracking_uri

    monkeypatch.chdir(tmp_path)
    environ = {"MLFLOW_TRACKING_URI": "http://environment:5000"}
    assert tracking_uri(Tracking(uri="http://request:5000"), environ) == "http://request:5000"
    assert tracking_uri(Tracking(), environ) == "http://environment:5000"
    assert tracking_uri(Tracking(), {}) == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking_uri(Tracking(), {"MLFLOW_TRACKING_URI": ""}) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:///a/b.db", "sqlite:///{here}/a/b.db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("file:///folder", "file:///folder"),
        ("databricks", "databricks"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_a_relative_database_is_that_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    from embedstep.tracking.mlflow import tracking_uri

    monkeypatch.chdir(tmp_path)
    assert tracking_uri(Tracking(uri=given), {}) == expected.format(here=tmp_path)


def test_a_server_that_is_away_cannot_start_and_says_so_quickly(nobody: str) -> None:
    started = time.monotonic()
    with pytest.raises(CannotStartError, match=rf"^tracking: MLflow at http://{nobody} does not answer: ") as caught:
        opened(f"http://{nobody}")
    assert caught.value.exit_code == CANNOT_START
    assert time.monotonic() - started < 20


def test_a_run_on_a_server_that_is_away_cannot_be_ended(nobody: str) -> None:
    with pytest.raises(CannotStartError, match="tracking: the run abc could not be ended: "):
        end_run(RunAddress(kind="mlflow", uri=f"http://{nobody}", run_id="abc"), "FAILED")


def test_a_database_that_cannot_be_opened_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotStartError, match=r"^tracking: .* does not answer: "):
        opened(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_password_in_a_uri_is_never_shown(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = f"http://user:planted-password@{nobody}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    with pytest.raises(CannotStartError) as caught:
        open_run(Tracking())
    assert "planted-password" not in str(caught.value)
    assert re.search(rf"MLflow at http://\*\*\*@{nobody} does not answer", str(caught.value))
    with pytest.raises(CannotStartError) as caught:
        end_run(RunAddress(kind="mlflow", uri=secret, run_id="abc"), "FAILED")
    assert "planted-password" not in str(caught.value)


def test_nothing_is_recorded_when_told_so() -> None:
    run = open_run(Tracking(kind="none"))
    assert isinstance(run, NullRun)
    run.log_parameters({"a": 1})
    run.log_metrics({"a": 1}, train_step=1)
    run.log_files([Path("none")])
    run.log_model(None, example=[], embeddings=None)
    run.finish("FINISHED")
    assert (run.address, run.complaints) == (None, ())
