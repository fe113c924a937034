"""A run as a report reads it, however far it got."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.report.run import describe_sources, read_run

PLAN: dict[str, Any] = {"datasets": [{"split": "train", "name": "docs"}, {"split": "eval", "name": "docs"}]}


def write(folder: Path, **files: Any) -> Path:
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


def test_a_folder_without_a_plan_holds_no_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError):
        read_run(tmp_path)


def test_a_run_that_has_only_a_plan_is_empty_otherwise(tmp_path: Path) -> None:
    run = read_run(write(tmp_path, plan=PLAN))
    assert run.name == tmp_path.name
    assert (run.result, run.verdict, run.error, run.run_id, list(run.attempts)) == ({}, {}, {}, None, [])


def test_results_of_0_1_0_have_the_names_of_now(tmp_path: Path) -> None:
    run = read_run(write(tmp_path, plan=PLAN, result={"outcome": "succeeded", "verdict": "unchanged"}))
    assert run.result == {"outcome": "succeeded", "skip_reason": "unchanged"}


def test_the_champion_has_the_names_that_the_run_gives_its_scores(tmp_path: Path) -> None:
    run = read_run(write(tmp_path, plan=PLAN, verdict={"metrics": {"champion": {"docs_cosine_ndcg@10": 0.5}}}))
    assert run.champion == {"eval_docs_cosine_ndcg@10": 0.5}


def test_where_rows_come_from_is_shown_without_secrets(tmp_path: Path) -> None:
    data = {
        "train": {"docs": {"path": ["s3://user:password123@bucket/a.parquet", "b.parquet"]}},
        "eval": {"docs": {"hub": "org/rows", "split": "test", "revision": None}},
    }
    found = dict(describe_sources(read_run(write(tmp_path, plan=PLAN, request={"request": {"data": data}}))))
    assert found["eval.docs"] == "org/rows, test"
    assert found["train.docs"].endswith("b.parquet")
    assert "password123" not in found["train.docs"]
