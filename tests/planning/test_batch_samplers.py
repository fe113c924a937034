"""A batch sampler of another package: its batches are checked, planned, shown, trained on and resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.step import plan_step

pytestmark = pytest.mark.usefixtures("birdsong")
Ask = Callable[..., list[str]]


def with_sampler(name: str = "blocks", **more: Any) -> dict[str, Any]:
    return {"batch_sampler": name, "per_device_train_batch_size": 8, "max_steps": -1, "num_train_epochs": 2, **more}


def test_its_steps_are_planned_and_its_batches_are_shown(
    request_of: Callable[..., dict[str, Any]], plan_request: Callable[..., Plan]
) -> None:
    plan = plan_request(arguments=with_sampler())
    assert (plan.steps_per_epoch, plan.train_steps, plan.datasets[0].rows_unreached) == (16, 32, 2)
    shown = plan_step(load_request(json.dumps(request_of(arguments=with_sampler()))), preview=1).preview
    numbers = [int(row["anchor"].split()[-1]) for row in shown[0]["ranks"][0]]
    assert numbers == list(range(numbers[0], numbers[0] + 8))


def test_several_processes_share_a_global_batch(plan_request: Callable[..., Plan]) -> None:
    plan = plan_request(arguments=with_sampler(), launch={"processes_per_node": 2})
    assert (plan.global_batch_size, plan.steps_per_epoch) == (16, 8)


def test_it_reads_labels(plan_request: Callable[..., Plan], problems_of: Ask, data_folder: Path) -> None:
    columns = {"anchor": "anchor", "positive": "positive", "label": "class"}
    data = {"train": {"docs": {"path": str(data_folder / "train.jsonl"), "columns": columns}}}
    plan = plan_request(arguments=with_sampler("birdsong:one_label"), data=data, loss="cosent")
    assert plan.steps_per_epoch == 2 * (65 // 8)
    message = "is one_label, which reads labels, and data.train.docs has no column of integers as label"
    assert f"arguments.batch_sampler: {message}" in problems_of(arguments=with_sampler("one_label"))


def test_training_takes_its_batches_and_a_resumed_one_the_rest(
    train_here: Callable[..., StepResult], request_of: Callable[..., dict[str, Any]]
) -> None:
    saves = with_sampler(save_strategy="steps", save_steps=20, num_train_epochs=2)
    whole = train_here(request_of(arguments=saves), "whole")
    assert whole.exit_code == 0, whole.failure
    assert whole.train_steps == 32
    checkpoint = str(Path(whole.output) / "checkpoints" / "checkpoint-20")
    resumed = train_here(request_of(arguments={**saves, "resume_from_checkpoint": checkpoint}), "resumed")
    assert (resumed.exit_code, resumed.train_steps) == (0, 12)
    assert resumed.weights_sha256 == whole.weights_sha256


DECLARE = (
    "from embedstep import BatchSamplerKind\nimport numpy as np, random\nx = BatchSamplerKind(name='x', function={})"
)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("lambda **o: []", "gives no batch of 130 rows, with 8 in a global batch"),
        ("lambda **o: 1 / 0", "fails in epoch 0: ZeroDivisionError: division by zero"),
        ("lambda **o: [[0, 130]]", "gives batch 0 of epoch 0 with row numbers outside 0 to 129"),
        ("lambda **o: [[0, 1], [[2, 3]]]",
         "gives batch 1 of epoch 0 with shape (1, 2) and type int64; a batch is a list of row numbers"),
        ("lambda **o: [[0, 1], []]", "gives batch 1 of epoch 0 with no rows"),
        ("lambda **o: [range(9)]", "gives batch 0 of epoch 0 with 9 rows; 8 are a global batch"),
        ("lambda epoch, **o: [[0, 1]] * (2 - epoch)",
         "gives 1 batch in epoch 1 and 2 in epoch 0; every epoch needs as many"),
        ("lambda **o: [random.sample(range(100), 8)]",
         "gives other batches for the same epoch; draw with the seed and the epoch that it gets"),
    ],
)  # fmt: skip
def test_batches_that_the_ranks_cannot_train_on_are_refused(
    problems_of: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, message: str
) -> None:
    name = f"song_{abs(hash(function))}"
    (tmp_path / f"{name}.py").write_text(DECLARE.format(function))
    monkeypatch.syspath_prepend(tmp_path)
    assert problems_of(arguments=with_sampler(f"{name}:x")) == [f"arguments.batch_sampler: x {message}"]


def test_a_batch_that_cannot_be_shared_is_refused(
    problems_of: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_song.py").write_text(DECLARE.format("lambda **o: [range(7)]"))
    monkeypatch.syspath_prepend(tmp_path)
    # With several processes all batches are full (dataloader_drop_last).
    assert problems_of(arguments=with_sampler("odd_song:x"), launch={"processes_per_node": 2}) == [
        "arguments.batch_sampler: x gives batch 0 of epoch 0 with 7 rows; 16 are a global batch"
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (with_sampler("block"), "did you mean"),
        (with_sampler("birdsong:gone"), "arguments.batch_sampler: birdsong has no 'gone'"),
        (with_sampler("birdsong:text_file"), "it must be an embedstep.BatchSamplerKind"),
        (with_sampler(group_by_length=True), "batch_sampler blocks forms its batches by itself; keep one"),
    ],
)
def test_what_does_not_go_with_it_is_refused(problems_of: Ask, given: dict[str, Any], message: str) -> None:
    assert message in "\n".join(problems_of(arguments=given))
