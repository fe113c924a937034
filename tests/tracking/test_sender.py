"""What arrives in a real MLflow of what was spooled."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.request.schema import Tracking
from embedstep.tracking.sender import Sender, sync, tracking_uri
from embedstep.tracking.spool import SpoolFolder
from tests.gateway import Gateway
from tests.tracking.conftest import Started, open_client


def sent(folder: SpoolFolder, uri: str) -> Any:
    """Send all that is there, and return the run as MLflow has it."""
    sender = Sender(folder, uri)
    sender.forward()
    return open_client(uri).get_run(sender.sent.run_id)


def history(uri: str, run: Any, name: str) -> list[tuple[int, float, int]]:
    points = open_client(uri).get_metric_history(run.info.run_id, name)
    return [(point.step, point.value, point.timestamp) for point in points]


def artifacts(uri: str, run: Any, folder: str | None = None) -> set[str]:
    return {item.path for item in open_client(uri).list_artifacts(run.info.run_id, folder)}


def test_a_whole_attempt_arrives(uri: str, started: Started, tmp_path: Path) -> None:
    folder, spool = started(run_name="one", tags={"team": "search"})
    (tmp_path / "plan.json").write_text("{}")
    spool.add("datasets", values=[{
        "name": "train.docs", "fingerprint": "ab" * 32, "source_type": "local", "source": {"uri": "docs.parquet"},
        "profile": {"num_rows": 10}, "context": "train",
    }])  # fmt: skip
    spool.file(tmp_path / "plan.json")
    spool.parameters({"seed": 1, "loss.kind": "cosent"})
    spool.metrics({"eval_docs_cosine_ndcg@10": 0.25, "loss": 1}, train_step=10)
    spool.metrics({"eval_docs_cosine_ndcg@10": 0.5}, train_step=20)
    run = sent(folder, uri)
    assert (run.info.status, run.info.run_name, run.data.tags["team"]) == ("RUNNING", "one", "search")
    assert run.data.params == {"seed": "1", "loss.kind": "cosent"}
    at = [entry["at"] for entry, _ in folder.read()[-2:]]
    assert history(uri, run, "eval_docs_cosine_ndcg_at_10") == [(10, 0.25, at[0]), (20, 0.5, at[1])]
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest, dataset.dataset.profile) == (
        "train.docs", "ab" * 18, '{"num_rows": 10}',
    )  # fmt: skip
    assert dataset.tags[0].value == "train"
    spool.end("FINISHED", patience=1)
    run = sent(folder, uri)
    assert run.info.status == "FINISHED"
    assert run.info.end_time == folder.read()[-1][0]["at"]
    assert artifacts(uri, run) == {"plan.json", "metric_names.json"}
    names = open_client(uri).download_artifacts(run.info.run_id, "metric_names.json", str(tmp_path))
    assert json.loads(Path(names).read_text()) == {"eval_docs_cosine_ndcg_at_10": "eval_docs_cosine_ndcg@10"}
    assert folder.sent.not_recorded == ()
    assert folder.is_sent


def test_sending_again_changes_nothing(uri: str, started: Started) -> None:
    folder, spool = started()
    spool.parameters({"seed": 1})
    spool.metrics({"loss": 0.5}, train_step=1)
    spool.end("FINISHED", patience=1)
    first = sent(folder, uri)
    points = history(uri, first, "loss")
    (folder.path / "sent.json").unlink()
    again = sent(folder, uri)
    assert again.info.run_id == first.info.run_id
    assert again.info.status == "FINISHED"
    assert history(uri, again, "loss") == points
    assert folder.sent.not_recorded == ()


def test_a_retry_resumes_in_the_same_run(uri: str, started: Started, tmp_path: Path) -> None:
    """One run, RUNNING again and then FINISHED, its steps one behind the other."""
    folder, spool = started()
    spool.parameters({"seed": 1, "rows": 10})
    spool.metrics({"loss": 0.5}, train_step=10)
    spool.end("FAILED", patience=1)
    failed = sent(folder, uri)
    assert failed.info.status == "FAILED"
    folder, spool = started()
    spool.parameters({"seed": 1, "rows": 12})
    spool.metrics({"loss": 0.25}, train_step=20)
    run = sent(folder, uri)
    assert (run.info.run_id, run.info.status) == (failed.info.run_id, "RUNNING")
    assert run.data.params == {"seed": "1", "rows": "10"}
    assert json.loads(run.data.tags["embedstep.attempt.2.changed_parameters"]) == {"rows": "12"}
    assert run.data.tags["embedstep.attempts"] == "2"
    spool.end("FINISHED", patience=1)
    run = sent(folder, uri)
    assert run.info.status == "FINISHED"
    assert [point[:2] for point in history(uri, run, "loss")] == [(10, 0.5), (20, 0.25)]
    drift = open_client(uri).download_artifacts(run.info.run_id, "attempts/2/parameters.json", str(tmp_path))
    assert json.loads(Path(drift).read_text()) == {"seed": "1", "rows": "12"}


def test_a_run_of_another_s_is_filled_and_not_ended(uri: str, started: Started) -> None:
    client = open_client(uri)
    theirs = client.create_run("0")
    client.log_param(theirs.info.run_id, "theirs", "kept")
    folder, spool = started(mode="attach", run_id=theirs.info.run_id)
    spool.metrics({"loss": 0.5}, train_step=1)
    spool.end("FINISHED", patience=1)
    run = sent(folder, uri)
    assert (run.info.run_id, run.info.status) == (theirs.info.run_id, "RUNNING")
    assert (run.data.params, run.data.metrics) == ({"theirs": "kept"}, {"loss": 0.5})
    assert folder.is_sent


def test_a_nested_run_leaves_its_parent_alone(uri: str, started: Started) -> None:
    client = open_client(uri)
    parent = client.create_run("0")
    folder, spool = started(mode="nest", run_id=parent.info.run_id)
    spool.parameters({"seed": 1})
    spool.end("FINISHED", patience=1)
    run = sent(folder, uri)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.info.status == "FINISHED"
    parent = client.get_run(parent.info.run_id)
    assert (parent.data.params, parent.info.status) == ({}, "RUNNING")


def test_more_than_a_hundred_parameters_and_long_values_arrive(uri: str, started: Started) -> None:
    folder, spool = started()
    spool.parameters({**{f"p{number}": number for number in range(350)}, "long": "x" * 7000, "limit": "y" * 6000})
    run = sent(folder, uri)
    assert len(run.data.params) == 352
    assert run.data.params["limit"] == "y" * 6000
    assert run.data.params["long"].endswith("x… (7000 characters)")
    assert folder.sent.not_recorded == ()


def test_a_deleted_run_waits_for_a_person(uri: str, started: Started) -> None:
    client = open_client(uri)
    run = client.create_run("0")
    client.delete_run(run.info.run_id)
    folder, spool = started(mode="attach", run_id=run.info.run_id)
    spool.metrics({"loss": 0.5}, train_step=1)
    with pytest.raises(InvalidRequestError, match="was deleted in MLflow; restore it first"):
        Sender(folder, uri).forward()
    assert folder.sent.refused
    client.restore_run(run.info.run_id)
    assert sent(folder, uri).data.metrics == {"loss": 0.5}
    assert (folder.sent.last_error, folder.sent.refused) == ("", False)
    client.delete_run(run.info.run_id)
    spool.metrics({"loss": 0.25}, train_step=2)
    with pytest.raises(InvalidRequestError):
        Sender(folder, uri).forward()
    client.restore_run(run.info.run_id)
    assert sent(folder, uri).data.metrics == {"loss": 0.25}


def test_a_deleted_experiment_is_refused(uri: str, started: Started) -> None:
    client = open_client(uri)
    client.delete_experiment(client.create_experiment("gone"))
    folder, _ = started(experiment="gone")
    with pytest.raises(InvalidRequestError) as caught:
        Sender(folder, uri).forward()
    assert str(caught.value) == "tracking.experiment: 'gone' was deleted in MLflow; restore it or choose another"


def test_files_and_a_model_that_are_gone_are_reported_and_the_rest_arrives(
    uri: str, started: Started, tmp_path: Path
) -> None:
    folder, spool = started()
    (tmp_path / "a.json").write_text("{}")
    spool.file(tmp_path / "a.json")
    (folder.files / "a.json").unlink()
    spool.model(tmp_path / "attempt", tmp_path / "model", dimension=32, step=1)
    spool.add("register", weights="0", register_as="gone", aliases=[], tags={})
    spool.metrics({"loss": 0.5}, train_step=1)
    spool.end("FINISHED", patience=1)
    run = sent(folder, uri)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 0.5})
    assert folder.sent.not_recorded == (
        "a.json: the file was removed",
        f"the model: {tmp_path / 'model'} was removed or replaced",
    )
    assert folder.sent.deferred == ()


def test_a_server_that_is_away_loses_nothing(nobody: str, uri: str, started: Started) -> None:
    folder, spool = started()
    spool.metrics({"loss": 0.5}, train_step=1)
    with pytest.raises(CannotStartError, match=rf"^tracking: MLflow at {nobody} does not answer: "):
        Sender(folder, nobody).forward()
    assert folder.sent.last_error
    assert folder.sent.bytes == 0
    assert sent(folder, uri).data.metrics == {"loss": 0.5}


@pytest.mark.parametrize("answered", range(2, 10, 2))
def test_a_server_that_goes_in_the_middle_gets_the_rest_when_it_is_back(
    server: str, started: Started, tmp_path: Path, answered: int
) -> None:
    """Whatever was being said when it went: nothing is missing and nothing is there twice."""
    (tmp_path / "plan.json").write_text("{}")
    folder, spool = started()
    spool.parameters({"seed": 1})
    spool.file(tmp_path / "plan.json")
    for step in (1, 2):
        spool.metrics({"loss": 1 / step}, train_step=step)
    spool.end("FINISHED", patience=1)
    with Gateway(server, closed_after=answered).open() as gateway:
        with pytest.raises(CannotStartError):
            Sender(folder, gateway.url).forward()
        gateway.closed_after = None
        run = sent(folder, gateway.url)
    assert (run.info.status, run.data.params) == ("FINISHED", {"seed": "1"})
    assert [point[:2] for point in history(server, run, "loss")] == [(1, 1.0), (2, 0.5)]
    assert artifacts(server, run) == {"plan.json"}
    runs = open_client(server).search_runs([run.info.experiment_id], f"tags.`embedstep.run_key` = '{tmp_path}'")
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "PERMISSION_DENIED", InvalidRequestError),
        (401, "UNAUTHENTICATED", InvalidRequestError),
        (500, "INTERNAL_ERROR", CannotStartError),
        (503, "TEMPORARILY_UNAVAILABLE", CannotStartError),
        (507, "INTERNAL_ERROR", CannotStartError),
    ],
)
def test_what_a_server_says_decides_who_can_help(
    server: str, started: Started, status: int, code: str, kind: type[Exception]
) -> None:
    folder, spool = started()
    spool.metrics({"loss": 0.5}, train_step=1)
    with Gateway(server, status=status, code=code).open() as gateway:
        with pytest.raises(kind, match=str(status)):
            Sender(folder, gateway.url).forward()
        gateway.status = None
        assert sent(folder, gateway.url).data.metrics == {"loss": 0.5}


@pytest.mark.parametrize(("status", "code"), [(507, "INTERNAL_ERROR"), (403, "PERMISSION_DENIED")])
def test_a_store_that_takes_no_files_keeps_nothing_else_from_arriving(
    server: str, started: Started, tmp_path: Path, status: int, code: str
) -> None:
    """The artifacts' store is another machine than the server's, and its disk is full."""
    (tmp_path / "plan.json").write_text("{}")
    with Gateway(server, status=status, code=code, only="/mlflow-artifacts/").open() as gateway:
        folder, spool = started(uri=gateway.url)
        spool.file(tmp_path / "plan.json")
        spool.metrics({"loss": 0.5}, train_step=1)
        spool.end("FINISHED", patience=1)
        run = sent(folder, gateway.url)
        assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 0.5})
        ((_, _, why),) = folder.sent.deferred
        assert str(status) in why
        assert not folder.is_sent
        (still,) = sync(tmp_path / "output")
        assert len(still.deferred) == 1
        gateway.status = None
        (now,) = sync(tmp_path / "output")
        assert (now.deferred, now.not_recorded) == ((), ())
    assert artifacts(server, run) == {"plan.json"}
    assert folder.is_sent


def test_sync_ends_runs_whose_processes_are_gone(uri: str, started: Started, tmp_path: Path) -> None:
    _, spool = started(uri=uri)
    spool.metrics({"loss": 0.5}, train_step=1)
    (one,) = sync(tmp_path / "output")
    run = open_client(uri).get_run(one.run_id)
    assert (run.info.status, run.data.metrics) == ("FAILED", {"loss": 0.5})
    assert sync(tmp_path / "output") == []


def test_a_password_in_a_uri_is_never_shown(nobody: str, started: Started) -> None:
    folder, _ = started()
    secret = nobody.replace("//", "//user:planted-password@")
    with pytest.raises(CannotStartError) as caught:
        Sender(folder, secret).forward()
    assert "planted-password" not in str(caught.value)
    assert "planted-password" not in (folder.path / "sent.json").read_text()


def test_the_request_s_uri_wins_over_the_environment_s_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(Tracking(uri=given), {}) == expected.format(here=tmp_path)


def test_a_server_that_keeps_fewer_parameters_gets_the_first_and_is_named_once(server: str, started: Started) -> None:
    """350 parameters, and a server that keeps 200 of a run."""
    folder, spool = started()
    spool.parameters({f"argument_{number:03}": str(number) for number in range(350)})
    spool.metrics({"loss": 0.5}, train_step=1)
    spool.end("FINISHED", patience=1)
    with Gateway(server, most_parameters=200).open() as gateway:
        run = sent(folder, gateway.url)
    assert run.data.params == {f"argument_{number:03}": str(number) for number in range(200)}
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 0.5})
    assert folder.sent.not_recorded == ("parameters: INVALID_PARAMETER_VALUE: a run has 200 parameters at most",)
