"""What a component's container runs, by executor inputs as Kubeflow hands them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedstep.errors import InvalidRequestError
from embedstep.orchestration.components import PROMOTE, TRAIN
from embedstep.orchestration.task import (
    Task,
    local_path,
    resolve_request,
    shown_metrics,
    task_from_json,
    write_outputs,
)
from embedstep.request.schema import TrainRequest
from tests.orchestration.executor import task

Build = Callable[..., dict[str, Any]]


def read(given: Task) -> TrainRequest:
    return resolve_request(given, TRAIN)


def refused(given: Task) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        read(given)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"outputs": {}}', '{"outputs": {"artifacts": {}, "outputFile": 1}}'])
def test_what_is_no_executor_input_is_refused(data: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not the executor input of a Kubeflow task"):
        task_from_json(data)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://bucket/a/model", "/gcs/bucket/a/model"),
        ("s3://bucket/a", "/s3/bucket/a"),
        ("minio://bucket/a", "/minio/bucket/a"),
        ("oci://host/models:1", "/oci/host_models:1"),
        ("/tmp/out/a", "/tmp/out/a"),
    ],
)
def test_an_artifact_lies_where_the_launcher_has_put_it(uri: str, path: str) -> None:
    from kfp.dsl import Artifact

    assert local_path(uri) == Path(path)
    assert Artifact(uri=uri).path == path


def test_a_parameter_wins_over_the_document_and_an_unset_one_changes_nothing(tmp_path: Path, request_of: Build) -> None:
    document = request_of(arguments={"learning_rate": 1e-3, "save_total_limit": None, "seed": 7})
    given = {
        "request": yaml.safe_dump(document), "learning_rate": 2e-5, "batch_sampler": "no_duplicates",
        "per_device_train_batch_size": 32, "fp16": False, "warmup_steps": "0.1", "save_steps": "1",
        "lr_scheduler_kwargs": '{"num_cycles": 2}',
    }  # fmt: skip
    arguments = read(task(tmp_path, given)).arguments
    assert (arguments.learning_rate, arguments.batch_sampler, arguments.seed) == (2e-5, "no_duplicates", 7)
    assert (arguments.per_device_train_batch_size, arguments.warmup_steps, arguments.save_steps) == (32, 0.1, 1)
    assert isinstance(arguments.save_steps, int)
    assert arguments.lr_scheduler_kwargs == {"num_cycles": 2}
    assert isinstance(arguments.lr_scheduler_kwargs["num_cycles"], int)
    assert arguments.save_total_limit is None


@pytest.mark.parametrize(
    "source",
    [
        {"hub": "org/name", "split": "train", "revision": "1"},
        {"sql": "select q, d from t", "database": "sqlite:///rows.db"},
        {"rows": "birdsong:made"},
        {"beir": "scifact", "split": "train"},
    ],
    ids=str,
)
def test_artifacts_stand_in_for_paths(tmp_path: Path, evaluated: Build, source: dict[str, Any]) -> None:
    document = evaluated()
    document["model"] = {"static": "somewhere", "dimension": 8}
    columns = {"anchor": "q", "positive": "d"}
    document["data"]["train"] = {"docs": {**source, "columns": columns}}
    for name in ("rows", "held_out", "base"):
        (tmp_path / name).mkdir()
    (tmp_path / "held_out" / "docs.parquet").touch()
    given = task(
        tmp_path, {"request": json.dumps(document), "as_of": "2026-11-02"}, train_data=tmp_path / "rows",
        eval_data=tmp_path / "held_out", base_model=tmp_path / "base",
    )  # fmt: skip
    request = read(given)
    assert (request.model.path, request.model.static) == (str(tmp_path / "base"), None)
    train, held_out = request.data.train["docs"], request.data.eval["docs"]
    assert (train.path, train.is_fetched, train.columns.anchor) == ([str(tmp_path / "rows")], False, "q")
    assert {train.hub, train.split, train.revision, train.sql, train.database, train.rows, train.beir} == {None}
    assert held_out.path == [str(tmp_path / "held_out" / "docs.parquet")]
    assert request.data.as_of == "2026-11-02"


def test_an_artifact_of_joined_rows_has_the_columns_of_these(tmp_path: Path, evaluated: Build) -> None:
    document = evaluated()
    document["data"] = {"train": {"docs": {"beir": "scifact", "split": "train"}}}
    (tmp_path / "rows").mkdir()
    (tmp_path / "held_out").mkdir()
    (tmp_path / "held_out" / "docs.parquet").touch()
    given = task(
        tmp_path, {"request": json.dumps(document)}, train_data=tmp_path / "rows", eval_data=tmp_path / "held_out"
    )
    data = read(given).data
    for dataset in (data.train["docs"], data.eval["docs"]):
        assert (dataset.beir, dataset.columns.anchor, dataset.columns.positive) == (None, "query", "document")


@pytest.mark.parametrize(("name", "delimiter"), [("docs.parquet", None), ("rows.csv", ";")])
def test_how_files_are_delimited_counts_for_an_artifact_unless_it_is_parquet(
    tmp_path: Path, request_of: Build, name: str, delimiter: str | None
) -> None:
    document = request_of()
    document["data"]["train"] = {
        "docs": {"path": "a.csv", "csv": {"delimiter": ";"}, "columns": {"anchor": "q", "positive": "d"}}
    }
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / name).touch()
    given = task(tmp_path, {"request": json.dumps(document)}, train_data=tmp_path / "rows")
    csv = read(given).data.train["docs"].csv
    assert (csv.delimiter if csv else None) == delimiter


def test_a_longest_input_stays_that_of_the_request(tmp_path: Path, request_of: Build, tiny_model: Path) -> None:
    document = request_of(model={"path": "elsewhere", "max_seq_length": 16})
    model = read(task(tmp_path, {"request": yaml.safe_dump(document)}, base_model=tiny_model)).model
    assert (model.path, model.max_seq_length) == (str(tiny_model), 16)


def test_a_long_request_is_read_from_where_it_lies(tmp_path: Path, request_of: Build) -> None:
    """Two hundred prompts of two hundred characters."""
    prompts = {f"column_{number}": "p" * 200 for number in range(200)}
    text = yaml.safe_dump(request_of(arguments={"prompts": prompts}))
    file = tmp_path / "request.yaml"
    file.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    given = {"request": f"{file}#sha256={digest}"}
    assert read(task(tmp_path, given)).arguments.prompts == prompts
    file.write_text(text + "# another day\n")
    assert refused(task(tmp_path, given)) == [
        f"request: {file} has changed since the pipeline was compiled; compile it again"
    ]
    file.unlink()
    assert refused(task(tmp_path, given)) == [f"request.path: {file} does not exist"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"evaluation_strategy": "no", "eval_strategy": "no"}, "--set arguments.evaluation_strategy: is another"),
        ({}, "request: is missing; give the text of a request, or <path or URL>#sha256=<digest>"),
        ({"as_of": "[[ScheduledTime]]"}, "data.as_of: needs a date or a time such as 2026-11-02"),
        ({"learning_rate": "quick"}, "arguments.learning_rate: needs a number"),
        ({"per_device_train_batch_size": 2.5}, "arguments.per_device_train_batch_size: needs an integer"),
        ({"hub_token": "hf_abc"}, "arguments.hub_token: a secret has no place in a request"),
    ],
)
def test_every_wrong_parameter_is_reported(
    tmp_path: Path, request_of: Build, parameters: dict[str, Any], message: str
) -> None:
    """Among them: a scheduler's placeholder that nobody has filled in."""
    document = {} if not parameters else {"request": yaml.safe_dump(request_of())}
    (problem,) = refused(task(tmp_path, {**document, **parameters}))
    assert problem.startswith(message)
    assert "hf_abc" not in problem


def test_a_folder_without_one_of_the_datasets_is_refused(tmp_path: Path, request_of: Build) -> None:
    document = request_of()
    document["data"]["train"]["more"] = document["data"]["train"]["docs"]
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "docs.parquet").touch()
    problems = refused(task(tmp_path, {"request": yaml.safe_dump(document)}, train_data=tmp_path / "rows"))
    assert problems == ["train_data: has no more.parquet; the request has the datasets docs, more"]
    (tmp_path / "held_out").mkdir()
    (tmp_path / "held_out" / "else.parquet").touch()
    problems = refused(task(tmp_path, {"request": yaml.safe_dump(document)}, eval_data=tmp_path / "held_out"))
    assert problems == ["eval_data: the request has no data.eval, which names the columns of the rows"]


def test_metrics_are_shown_under_names_that_kubeflow_takes(tmp_path: Path) -> None:
    """Many metrics with `@` in their names."""
    metrics = {f"eval_docs_cosine_ndcg@{number}": number / 100 for number in range(60)} | {"train_loss": 0.5}
    shown = shown_metrics(metrics)
    assert len(shown) == 50
    assert all("@" not in name for name in shown)
    given = task(tmp_path, {})
    write_outputs(given, {"verdict": "trained"}, {"metrics": shown})
    written = json.loads((tmp_path / "executor_output.json").read_text())
    (artifact,) = written["artifacts"]["metrics"]["artifacts"]
    assert artifact["metadata"] == shown
    assert artifact["uri"] == str(tmp_path / "outputs" / "metrics")
    assert written["parameterValues"] == {"verdict": "trained"}


def test_a_parameter_wins_under_either_of_its_names(tmp_path: Path, evaluated: Build) -> None:
    given = {"request": yaml.safe_dump(evaluated(arguments={"evaluation_strategy": "epoch"})), "eval_strategy": "no"}
    assert read(task(tmp_path, given)).arguments.eval_strategy == "no"
    given = {"request": yaml.safe_dump(evaluated(arguments={"eval_strategy": "epoch"})), "evaluation_strategy": "no"}
    arguments = read(task(tmp_path, given)).arguments
    assert (arguments.evaluation_strategy, arguments.eval_strategy) == ("no", "no")


def test_a_component_names_the_missing_artifact(tmp_path: Path, evaluated: Build) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        resolve_request(task(tmp_path, {"request": yaml.safe_dump(evaluated())}), PROMOTE)
    assert [str(problem) for problem in caught.value.problems] == ["model: is missing", "result: is missing"]


def test_rows_that_are_given_are_not_divided_again(tmp_path: Path, request_of: Build) -> None:
    document = request_of()
    document["data"]["train"]["docs"]["hold_out"] = {"share": 0.1}
    for split in ("train", "eval"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "docs.parquet").touch()
    text = {"request": yaml.safe_dump(document)}
    both = read(task(tmp_path, text, train_data=tmp_path / "train", eval_data=tmp_path / "eval")).data
    assert (both.train["docs"].hold_out, both.eval["docs"].hold_out) == (None, None)
    assert both.eval["docs"].path == [str(tmp_path / "eval" / "docs.parquet")]
    alone = read(task(tmp_path, text, train_data=tmp_path / "train")).data
    assert alone.held_out == {"docs"}
    assert alone.eval["docs"].path == alone.train["docs"].path == [str(tmp_path / "train" / "docs.parquet")]
