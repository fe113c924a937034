"""Every batch sampler at two processes, cut in the middle of an epoch; test_interruption.py has them at one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.compared import lost
from tests.faults.conftest import Fault
from tests.faults.processes import Attempt, trained

pytestmark = [pytest.mark.torchrun, pytest.mark.slow]
Build = Callable[..., dict[str, Any]]
ROWS = {"anchor": "anchor", "positive": "positive"}
SOFTMAX = {"kind": "softmax", "options": {"num_labels": 2}}


@pytest.mark.fault("SIGTERM, with {sampler} and {mixing}", "training, 2 processes")
@pytest.mark.parametrize(
    ("sampler", "mixing"),
    [("batch_sampler", "round_robin"), ("no_duplicates", "proportional"), ("group_by_label", "proportional")],
)
def test_two_processes_go_on_where_they_were(
    request_of: Build, data_folder: Path, fault: Fault, sampler: str, mixing: str, tmp_path: Path
) -> None:
    is_labelled = sampler == "group_by_label"
    columns, loss = ({**ROWS, "label": "class"}, SOFTMAX) if is_labelled else (ROWS, "multiple_negatives_ranking")
    train = {name: {"path": str(data_folder / f"{file}.jsonl"), "columns": columns}
             for name, file in (("docs", "train"), ("more", "more"))}  # fmt: skip
    arguments = {
        "batch_sampler": sampler, "multi_dataset_batch_sampler": mixing, "max_steps": 40, "logging_steps": 1,
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2,
    }  # fmt: skip
    request = request_of(arguments=arguments, data={"train": train}, loss=loss, launch={"processes_per_node": 2})
    whole = trained(tmp_path, request, "whole")
    attempt = Attempt(tmp_path, request, "cut")
    attempt.wait_for_logs(5)
    attempt.process.terminate()
    attempt.ends(75)
    told = Attempt(tmp_path, request, "cut").ends(0)
    assert "goes on after train step" in told
    fault.came_to("75", lost(whole, tmp_path / "cut"))
