"""What the container of each component does, from its executor input to its outputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.orchestration.executor import executor_input, run, task
from tests.orchestration.test_task import read

Build = Callable[..., dict[str, Any]]


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
