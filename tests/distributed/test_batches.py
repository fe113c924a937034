"""Batches in real processes: the rows that each rank has read, compared with those of the plan."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedstep.planning.batches import build_epochs, load_sampler_inputs
from embedstep.planning.plan import plan_from_json
from embedstep.request.arguments.ledger import effective_arguments
from embedstep.request.schema import TrainRequest
from embedstep.sampling.epochs import Epochs

pytestmark = pytest.mark.torchrun
ROWS = str(Path(__file__).parent / "faults")
Run = Callable[..., Any]
Build = Callable[..., dict[str, Any]]


def rows_of(folder: Path, rank: int) -> list[list[int]]:
    return [json.loads(line) for line in (folder / f"rank-{rank}.jsonl").read_text().splitlines()]


def epochs_planned(output: Path) -> Epochs:
    """What the plan of a run says, worked out here once more."""
    plan = plan_from_json(json.loads((output / "plan.json").read_text()))
    request = TrainRequest.model_validate(json.loads((output / "request.json").read_text())["request"])
    arguments = effective_arguments(request.arguments, plan.ledger)
    materials = [load_sampler_inputs(arguments, item) for item in plan.datasets if item.split == "train"]
    return build_epochs(arguments, materials, plan.world_size, arguments.per_device_train_batch_size)


@pytest.fixture
def answered(tmp_path: Path) -> dict[str, Any]:
    """Two datasets: 120 questions with 40 answers, and 60 texts with four labels."""
    pairs = [{"q": f"question {row}", "a": f"answer {row * 7 % 40}"} for row in range(120)]
    labelled = [{"t": f"text {row}", "l": row % 4} for row in range(60)]
    for name, rows in (("pairs", pairs), ("labelled", labelled)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {
        "pairs": {"path": str(tmp_path / "pairs.jsonl"), "columns": {"anchor": "q", "positive": "a"}},
        "labelled": {"path": str(tmp_path / "labelled.jsonl"), "columns": {"anchor": "t", "label": "l"}},
    }


@pytest.mark.interpreter  # the hashes of strings differ from rank to rank: no order may go by them
def test_two_ranks_read_the_planned_rows(
    embedstep_run: Run, request_of: Build, answered: dict[str, Any], tmp_path: Path
) -> None:
    """No duplicates over the batches of both ranks together, lengths grouped, workers, accumulation, two epochs."""
    rows = tmp_path / "rows"
    rows.mkdir()
    document = request_of(
        data={"train": {"pairs": answered["pairs"]}},
        launch={"processes_per_node": 2},
        arguments={
            "batch_sampler": "no_duplicates", "group_by_length": True, "data_seed": 3, "max_steps": -1,
            "num_train_epochs": 2, "gradient_accumulation_steps": 2, "dataloader_num_workers": 1,
            "dataloader_persistent_workers": True,
        },
    )  # fmt: skip
    outcome = embedstep_run(document, environ={"PYTHONPATH": ROWS, "ROWS_TO": str(rows)})
    assert outcome.code == 0, outcome.err
    epochs = epochs_planned(outcome.output)
    plan = outcome.json("plan.json")
    assert plan["datasets"][0]["batches"] == 2 * epochs.steps
    for rank in range(2):
        planned = [share.tolist() for epoch in range(2) for share in epochs.rows_of(epoch, rank)]
        assert rows_of(rows, rank) == planned
    for one, other in zip(rows_of(rows, 0), rows_of(rows, 1), strict=True):
        answers = [row * 7 % 40 for row in one + other]
        assert len(set(answers)) == 16


def test_a_resumed_run_reads_the_rows_that_would_have_come(
    embedstep_run: Run, request_of: Build, answered: dict[str, Any], tmp_path: Path
) -> None:
    """In the middle of the second epoch, with two datasets, then refused for another seed and batch."""
    given = {
        "batch_sampler": "group_by_label", "max_steps": 14, "save_strategy": "steps", "save_steps": 9,
        "per_device_train_batch_size": 8,
    }  # fmt: skip
    more = {"path": answered["labelled"]["path"], "columns": {"anchor": "t", "label": "l"}}
    document = request_of(
        data={"train": {"one": answered["labelled"], "two": more}}, loss="batch_all_triplet", arguments=given
    )
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    for folder in (whole, resumed):
        folder.mkdir()
    assert embedstep_run(document, environ={"PYTHONPATH": ROWS, "ROWS_TO": str(whole)}).code == 0
    checkpoint = tmp_path / "output/checkpoints/checkpoint-9"
    document["arguments"]["resume_from_checkpoint"] = str(checkpoint)
    outcome = embedstep_run(document, "--overwrite", environ={"PYTHONPATH": ROWS, "ROWS_TO": str(resumed)})
    assert outcome.code == 0, outcome.err
    assert rows_of(resumed, 0) == rows_of(whole, 0)[9:]
    assert np.concatenate(rows_of(whole, 0)).max() > 60
    document["arguments"] |= {"seed": 7, "per_device_train_batch_size": 4}
    outcome = embedstep_run(document, "--overwrite")
    assert outcome.code == 2
    shown = " ".join(outcome.err.split())
    assert "used seed 42, and this run uses 7" in shown
    assert "used per_device_train_batch_size 8, and this run uses 4" in shown
