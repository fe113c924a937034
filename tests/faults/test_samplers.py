"""Every batch sampler at two processes, cut in the middle of a later epoch; test_interruption.py has them at one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import read_json
from tests.faults.compared import lost
from tests.faults.conftest import Fault
from tests.faults.processes import Attempt, trained

pytestmark = [pytest.mark.torchrun, pytest.mark.slow]
Build = Callable[..., dict[str, Any]]
ROWS = {"anchor": "anchor", "positive": "positive"}
SOFTMAX = {"kind": "softmax", "options": {"num_labels": 2}}
TWO = ("docs", "more")
UNSEEDED = {"accelerator_config": {"use_seedable_sampler": False}}


@pytest.mark.fault("SIGKILL of a rank, {names} with {given}", "training, {processes} processes")
@pytest.mark.parametrize(
    ("processes", "names", "given"),
    [
        (2, TWO, {"batch_sampler": "batch_sampler", "multi_dataset_batch_sampler": "round_robin"}),
        (2, TWO, {"batch_sampler": "batch_sampler", "multi_dataset_batch_sampler": "round_robin", "data_seed": 3}),
        (2, TWO, {"batch_sampler": "batch_sampler", "multi_dataset_batch_sampler": "proportional"}),
        (2, TWO, {"batch_sampler": "no_duplicates", "multi_dataset_batch_sampler": "proportional"}),
        (2, TWO, {"batch_sampler": "group_by_label", "multi_dataset_batch_sampler": "proportional"}),
        (2, ("docs",), {"batch_sampler": "batch_sampler"}),
        (2, ("docs",), UNSEEDED),
        (1, ("more",), UNSEEDED),
        (1, ("more",), {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}),
    ],
)
def test_a_later_epoch_resumes_where_it_was(
    request_of: Build, data_folder: Path, fault: Fault, processes: int, names: tuple[str, ...], given: dict[str, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    """The order of the rows is that of the epoch that was cut, wherever in it the checkpoint lies."""
    is_labelled = given.get("batch_sampler") == "group_by_label"
    columns, loss = ({**ROWS, "label": "class"}, SOFTMAX) if is_labelled else (ROWS, "multiple_negatives_ranking")
    files = {"docs": "train", "more": "more"}
    train = {name: {"path": str(data_folder / f"{files[name]}.jsonl"), "columns": columns} for name in names}
    arguments = {
        **given, "max_steps": 30, "logging_steps": 1, "save_strategy": "steps", "save_steps": 11,
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2,
    }  # fmt: skip
    request = request_of(
        arguments=arguments, data={"train": train}, loss=loss, launch={"processes_per_node": processes}
    )
    whole = trained(tmp_path, request, "whole")
    for step in (11, 22):
        epoch = float(read_json(whole / f"checkpoints/checkpoint-{step}/trainer_state.json")["epoch"])
        assert epoch > 1
        assert not epoch.is_integer()
    attempt = Attempt(tmp_path, request, "cut")
    attempt.wait_for_checkpoint(11)
    attempt.ranks[-1].kill()
    attempt.ends(1)
    shown = Attempt(tmp_path, request, "cut").ends(0)
    assert "resuming after train step" in shown
    fault.came_to("1", lost(whole, tmp_path / "cut", resumed=True))
