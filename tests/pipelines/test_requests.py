"""Every request that is shipped is loaded, planned and, in small, trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pipelines.docstrings.demo import link_minilm

from tests.conftest import Outcome, pair_rows
from tests.places import ROOT

REQUESTS = sorted((ROOT / "pipelines" / "requests").glob("*.yaml"))
SMALL = ("--set", "arguments.max_steps=3", "--set", "arguments.per_device_train_batch_size=4",
         "--set", "arguments.logging_steps=1")  # fmt: skip


@pytest.fixture
def docstrings(tmp_path: Path) -> Path:
    """The data that the shipped requests name, in small, below `tmp_path`."""
    from pyarrow import Table, parquet

    folder = tmp_path / "build" / "docstrings"
    folder.mkdir(parents=True)
    link_minilm(folder / "minilm")
    for name, start in (("train", 0), ("eval", 500)):
        rows = [{"query": row["anchor"], "docstring": row["positive"], "module": "m"} for row in pair_rows(60, start)]
        parquet.write_table(Table.from_pylist(rows), folder / f"{name}.parquet")
    return tmp_path


def test_there_are_requests() -> None:
    assert {path.stem for path in REQUESTS} == {"docstrings_minilm", "docstrings_static"}


@pytest.mark.torchrun
@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: path.stem)
def test_a_shipped_request_trains(docstrings: Path, embedstep_run: Callable[..., Outcome], path: Path) -> None:
    outcome = embedstep_run(yaml.safe_load(path.read_text()), *SMALL)
    assert outcome.code == 0, outcome.err
    assert outcome.json("plan.json")["train_steps"] == 3
    assert (outcome.output / "model" / "modules.json").exists()
    logs = [json.loads(line) for line in (outcome.output / "metrics.jsonl").read_text().splitlines()]
    assert sum("eval_docs_cosine_ndcg@10" in log for log in logs) == len(outcome.json("plan.json")["evaluations"])
