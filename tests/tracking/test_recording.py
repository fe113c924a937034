"""Which run an attempt records in, and what is recorded of it at its start."""

import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.request.schema import TrainRequest
from embedstep.request.sources import Beir
from embedstep.step import plan_step
from embedstep.tracking import recording
from embedstep.tracking.environment import tracking_environ, tracking_override
from embedstep.tracking.sender import tracking_uri
from embedstep.tracking.spool import Status, spools
from tests.tracking.conftest import Started

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def given(request_of: Build) -> Callable[..., tuple[TrainRequest, Plan]]:
    """A request with some tracking, and its plan."""

    def build(**tracking: Any) -> tuple[TrainRequest, Plan]:
        request = load_request(yaml.safe_dump(request_of(tracking={"kind": "mlflow", **tracking})))
        return request, plan_step(request)

    return build


Given = Callable[..., tuple[TrainRequest, Plan]]


@pytest.mark.parametrize(
    ("status", "is_same_request", "resumes", "is_same_run"),
    [
        ("FAILED", True, False, True),
        ("KILLED", True, False, True),
        (None, True, False, True),
        ("FAILED", False, False, False),
        ("KILLED", False, True, True),
        ("FINISHED", True, False, False),
        ("FINISHED", True, True, False),
    ],
)
def test_a_retry_has_the_run_of_the_attempt_before(
    given: Given, started: Started, tmp_path: Path,
    status: Status | None, is_same_request: bool, resumes: bool, is_same_run: bool,
) -> None:  # fmt: skip
    request, plan = given()
    tags = {"embedstep.request_fingerprint": plan.request_fingerprint if is_same_request else "another"}
    _, spool = started(key="the first", tags=tags)
    if status is not None:
        spool.end(status, patience=1)
    (before,) = spools(tmp_path / "output")
    assert (recording._choose_key(request, plan, before, resumes=resumes) == "the first") == is_same_run


def test_a_key_of_the_request_is_the_run_s_whatever_was_before(given: Given) -> None:
    request, plan = given(key="weekly/train")
    assert recording._choose_key(request, plan, None, resumes=False) == "weekly/train"
    request, plan = given()
    assert recording._choose_key(request, plan, None, resumes=False) != recording._choose_key(
        request, plan, None, resumes=False
    )


@pytest.mark.parametrize(
    ("mode", "open_run", "found"),
    [
        ("auto", None, ("own", None)),
        ("auto", "abc", ("attach", "abc")),
        ("own", "abc", ("own", None)),
        ("attach", "abc", ("attach", "abc")),
        ("nest", "abc", ("nest", "abc")),
    ],
)
def test_the_run_that_is_open_is_recorded_in_as_the_request_says(
    given: Given, monkeypatch: pytest.MonkeyPatch, mode: str, open_run: str | None, found: tuple[str, str | None]
) -> None:
    if open_run is not None:
        monkeypatch.setenv("MLFLOW_RUN_ID", open_run)
    request, plan = given(mode=mode)
    start = recording._describe_start(request, plan, "sqlite:////m.db", "key")
    assert (start["mode"], start["run_id"]) == found


@pytest.mark.parametrize(
    ("given_uri", "mode"),
    [(None, "attach"), ("http://theirs:5000/", "attach"), ("http://ours:5000", "own")],
)
def test_a_run_that_is_open_elsewhere_is_none_of_ours(given: Given, given_uri: str | None, mode: str) -> None:
    request, plan = given(uri=given_uri)
    with tracking_override("http://theirs:5000", "abc"):
        start = recording._describe_start(request, plan, tracking_uri(request.tracking, tracking_environ()), "key")
    assert start["mode"] == mode
    assert "MLFLOW_RUN_ID" not in tracking_environ()


def test_threads_are_recorded_each_at_its_own_place() -> None:
    """Mapped steps of ZenML are threads of one process."""

    def place(number: int) -> tuple[str, str]:
        with tracking_override(f"http://{number}", str(number)):
            meeting.wait(10)
            environ = tracking_environ()
        return environ["MLFLOW_TRACKING_URI"], environ["MLFLOW_RUN_ID"]

    meeting = threading.Barrier(3)
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(place, range(3))) == [(f"http://{number}", str(number)) for number in range(3)]


def test_a_run_records_the_commit_that_it_was_started_from(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        author = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        return subprocess.run(("git", *author, *words), check=True, capture_output=True, text=True).stdout.strip()

    request, plan = given()
    monkeypatch.chdir(tmp_path)
    assert "mlflow.source.git.commit" not in recording._describe_start(request, plan, "", "key")["tags"]
    git("init", "-q")
    (tmp_path / "request.yaml").write_text("a")
    git("add", "request.yaml")
    git("commit", "-qm", "one")
    tags = recording._describe_start(request, plan, "", "key")["tags"]
    assert tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert "embedstep.git.changed" not in tags
    (tmp_path / "request.yaml").write_text("b")
    assert recording._describe_start(request, plan, "", "key")["tags"]["embedstep.git.changed"] == "true"


def test_datasets_are_recorded_by_their_source_without_secrets(given: Given) -> None:
    request, plan = given()
    (item,) = plan.datasets
    found = recording._describe_dataset(request, item)
    path = (request.data.train["docs"].path or [""])[0]
    assert (found["name"], found["source_type"], found["source"]) == (
        "train.docs",
        "local",
        {"uri": path, "as_of": None},
    )
    assert found["profile"] == {
        "num_rows": 130, "columns": ["anchor", "positive"], "duplicate_rows": 0, "overlapping_rows": 0,
    }  # fmt: skip
    signed = request.data.train["docs"].model_copy(update={"path": ["https://host/a.parquet?sig=planted-signature"]})
    request = request.model_copy(update={"data": request.data.model_copy(update={"train": {"docs": signed}})})
    assert "planted" not in str(recording._describe_dataset(request, item))
    on_hub = signed.model_copy(update={"path": None, "hub": "org/docs", "split": "train", "revision": "abc"})
    request = request.model_copy(update={"data": request.data.model_copy(update={"train": {"docs": on_hub}})})
    assert recording._describe_dataset(request, item)["source"] == {
        "path": "org/docs", "config_name": None, "split": "train", "revision": "abc", "as_of": None,
    }  # fmt: skip
    queried = signed.model_copy(update={"path": None, "sql": "select q from t", "database": "sqlite:///rows.db"})
    request = request.model_copy(update={"data": request.data.model_copy(update={"train": {"docs": queried}})})
    found = recording._describe_dataset(request, item)
    assert (found["source_type"], found["source"]) == (
        "sql", {"query": "select q from t", "database": "sqlite:///rows.db", "as_of": None},
    )  # fmt: skip
    joined = signed.model_copy(update={"path": None, "beir": Beir(folder="scifact"), "split": "train"})
    request = request.model_copy(update={"data": request.data.model_copy(update={"train": {"docs": joined}})})
    found = recording._describe_dataset(request, item)
    assert (found["source_type"], found["source"]) == ("local", {"uri": "scifact", "split": "train", "as_of": None})
