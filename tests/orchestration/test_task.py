"""What a component's container runs, by executor inputs as Kubeflow hands them."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
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

OUTPUTS = (
    "model", "metrics", "report", "result", "scores", "decision", "train_rows", "eval_rows", "prepared", "mined",
    "outcome",
)  # fmt: skip
Build = Callable[..., dict[str, Any]]


def executor_input(folder: Path, parameters: dict[str, Any], **artifacts: Path) -> str:
    """An executor input, with outputs in `folder`."""
    outputs: dict[str, Any] = {
        name: {"artifacts": [{"name": name, "uri": str(folder / "outputs" / name), "metadata": {}}]} for name in OUTPUTS
    }
    inputs = {name: {"artifacts": [{"name": name, "uri": str(path)}]} for name, path in artifacts.items()}
    return json.dumps(
        {
            "inputs": {"parameterValues": parameters, "artifacts": inputs},
            "outputs": {"artifacts": outputs, "outputFile": str(folder / "executor_output.json")},
        }
    )


def task(folder: Path, parameters: dict[str, Any], **artifacts: Path) -> Task:
    return task_from_json(executor_input(folder, parameters, **artifacts))


def read(given: Task) -> TrainRequest:
    return resolve_request(given, TRAIN)


def run(text: str, name: str = "train") -> subprocess.CompletedProcess[str]:
    """What the container of the component runs."""
    command = [sys.executable, "-m", "embedstep", "task", name, "--executor-input", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


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


def test_artifacts_stand_in_for_paths(tmp_path: Path, evaluated: Build) -> None:
    document = evaluated()
    document["model"] = {"static": "somewhere", "dimension": 8}
    columns = {"anchor": "q", "positive": "d"}
    document["data"]["train"] = {"docs": {"hub": "org/name", "split": "train", "revision": "1", "columns": columns}}
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
    assert (train.path, train.hub, train.split, train.columns.anchor) == ([str(tmp_path / "rows")], None, None, "q")
    assert held_out.path == [str(tmp_path / "held_out" / "docs.parquet")]
    assert request.data.as_of == "2026-11-02"


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


@pytest.mark.torchrun
@pytest.mark.slow
def test_a_task_trains_and_leaves_its_outputs(tmp_path: Path, evaluated: Build) -> None:
    given = executor_input(
        tmp_path, {"request": yaml.safe_dump(evaluated()), "max_steps": 2, "eval_strategy": "steps", "eval_steps": "2"}
    )
    ended = run(given)
    assert ended.returncode == 0, ended.stderr
    outputs = tmp_path / "outputs"
    assert (outputs / "model" / "modules.json").exists()
    assert "<html" in (outputs / "report").read_text()
    result = json.loads((outputs / "result").read_text())
    assert (result["train_steps"], result["outcome"]) == (2, "succeeded")
    written = json.loads((tmp_path / "executor_output.json").read_text())
    assert written["parameterValues"] == {"run_id": "", "status": "trained"}
    shown = written["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    assert shown["eval_docs_cosine_ndcg_at_10"] == result["metrics"]["eval_docs_cosine_ndcg@10"]
    assert json.loads((outputs / "metrics").read_text()) == result["metrics"]


@pytest.mark.torchrun
@pytest.mark.slow
def test_a_trained_model_is_scored_and_decided_about(tmp_path: Path, evaluated: Build, tiny_model: Path) -> None:
    text = yaml.safe_dump(evaluated(promotion={"metric": "docs_cosine_ndcg@10"}))
    ended = run(executor_input(tmp_path, {"request": text, "max_steps": 2}))
    assert ended.returncode == 0, ended.stderr
    outputs = tmp_path / "outputs"
    scored = run(executor_input(tmp_path, {"request": text}, model=outputs / "model", baseline=tiny_model), "evaluate")
    assert scored.returncode == 0, scored.stderr
    models = json.loads((outputs / "scores").read_text())["models"]
    assert list(models) == ["baseline", "model"]
    assert json.loads((outputs / "metrics").read_text()) == models["model"]["metrics"]
    given = executor_input(
        tmp_path, {"request": text, "minimum_gain": 0.9}, model=outputs / "model", result=outputs / "result",
        champion=tiny_model,
    )  # fmt: skip
    decided = run(given, "promote")
    assert decided.returncode == 0, decided.stderr
    assert json.loads((outputs / "decision").read_text())["verdict"] != "promote"
    written = json.loads((tmp_path / "executor_output.json").read_text())
    assert written["parameterValues"]["verdict"] in ("hold", "reject")


def test_rows_are_laid_down_for_the_tasks_after(tmp_path: Path, request_of: Build) -> None:
    """A share is held out of a dataset without rows to evaluate with, and the training finds both."""
    text = yaml.safe_dump(request_of())
    ended = run(executor_input(tmp_path, {"request": text, "eval_share": 0.2, "seed": 7}), "prepare")
    assert ended.returncode == 0, ended.stderr
    outputs = tmp_path / "outputs"
    content = json.loads((outputs / "prepared").read_text())
    written = json.loads((tmp_path / "executor_output.json").read_text())
    rows = {item["split"]: item["rows"] for item in content["datasets"]}
    assert rows["train"] + rows["eval"] == 130
    assert written["parameterValues"] == {"fingerprint": content["fingerprint"], "rows": rows["train"]}
    given = task(tmp_path, {"request": text}, train_data=outputs / "train_rows", eval_data=outputs / "eval_rows")
    data = read(given).data
    assert data.train["docs"].path == [str(outputs / "train_rows" / "docs.parquet")]
    assert data.eval["docs"].path == [str(outputs / "eval_rows" / "docs.parquet")]
    assert data.eval["docs"].columns == data.train["docs"].columns


@pytest.mark.slow
def test_negatives_are_found_for_the_columns_that_the_request_has(tmp_path: Path, request_of: Build) -> None:
    document = request_of()
    document["data"]["train"]["docs"]["columns"]["negative"] = ["hard", "harder"]
    given = {"request": yaml.safe_dump(document), "range_max": 20, "sampling_strategy": "top"}
    ended = run(executor_input(tmp_path, given), "mine_negatives")
    assert ended.returncode == 0, ended.stderr
    rows = pq.read_table(tmp_path / "outputs" / "train_rows" / "docs.parquet")
    assert rows.column_names == ["anchor", "positive", "hard", "harder"]
    for row in rows.to_pylist():
        assert len({row["positive"], row["hard"], row["harder"]}) == 3
    (mined,) = json.loads((tmp_path / "outputs" / "mined").read_text())["datasets"]
    assert (mined["rows"], mined["mined_rows"], mined["negatives"]) == (130, rows.num_rows, 2)


def test_what_cannot_be_mined_is_reported(tmp_path: Path, request_of: Build) -> None:
    given = {"request": yaml.safe_dump(request_of()), "sampling_strategy": "best"}
    ended = run(executor_input(tmp_path, given), "mine_negatives")
    assert ended.returncode == 2
    assert "data.train.docs.columns.negative: is empty; name a column for each negative" in ended.stderr
    assert "sampling_strategy: must be top or random; 'best' was given" in ended.stderr


def test_how_a_pipeline_ended_is_written_down_whatever_it_was(tmp_path: Path) -> None:
    status = {"state": "FAILED", "error": {"code": 9, "message": "train-embedder: hf_0123456789abcdef0123"}}
    ended = run(executor_input(tmp_path, {"request": "no request", "status": status, "as_of": "2026-11-02"}), "outcome")
    assert ended.returncode == 0, ended.stderr
    content = json.loads((tmp_path / "outputs" / "outcome").read_text())
    assert (content["state"], content["error"], content["as_of"]) == ("FAILED", "train-embedder: ***", "2026-11-02")


def test_a_refused_task_ends_in_two_before_anything_is_made(tmp_path: Path) -> None:
    ended = run(executor_input(tmp_path, {"request": "model: x", "seed": "a"}))
    assert ended.returncode == 2
    assert "arguments.seed: needs an integer" in ended.stderr
    assert list(tmp_path.iterdir()) == []
