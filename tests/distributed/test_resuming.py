"""An attempt that was killed is resumed, and ends as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import wait_for

pytestmark = [pytest.mark.torchrun, pytest.mark.timeout(300)]
Build = Callable[..., dict[str, Any]]
STEPS = 120
ARGUMENTS = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 10, "logging_steps": 1, "save_total_limit": 3}


def start(folder: Path, request: dict[str, Any], output: str, *options: str) -> subprocess.Popen[str]:
    (folder / "request.yaml").write_text(yaml.safe_dump(request))
    return subprocess.Popen(
        [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", output, *options],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    shown, _ = process.communicate(timeout=200)
    assert process.returncode == 0, shown
    return shown


def killed(folder: Path, request: dict[str, Any], output: str) -> None:
    """Start a run, and kill it between its second checkpoint and its end."""
    process = start(folder, request, output)
    checkpoints = folder / output / "checkpoints"
    wait_for(lambda: len(list(checkpoints.glob("checkpoint-*"))) > 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert not (checkpoints / f"checkpoint-{STEPS}").exists(), "it was too fast to be killed"


def result(folder: Path, output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / output / "result.json").read_text())
    return found


def steps(folder: Path, output: str) -> list[int]:
    lines = (folder / output / "metrics.jsonl").read_text().splitlines()
    return [line["train_step"] for line in map(json.loads, lines) if "loss" in line]


def test_a_killed_attempt_resumes_to_the_same_weights(request_of: Build, tmp_path: Path, own_uri: str) -> None:
    """The same command again, and nothing is lost or made twice."""
    request = request_of(
        arguments={**ARGUMENTS, "batch_sampler": "no_duplicates", "gradient_accumulation_steps": 2},
        launch={"processes_per_node": 1},
        tracking={"kind": "mlflow", "uri": own_uri},
    )  # fmt: skip
    ended(start(tmp_path, request, "whole"))
    killed(tmp_path, request, "cut")
    shown = ended(start(tmp_path, request, "cut"))
    (line,) = (line for line in shown.splitlines() if "resuming after train step" in line)
    step = int(line.split("train step ")[1].split(" of ")[0])
    assert 20 <= step < STEPS
    whole, cut = result(tmp_path, "whole"), result(tmp_path, "cut")
    assert cut["weights_sha256"] == whole["weights_sha256"] is not None
    assert cut["train_steps"] == STEPS - step
    assert steps(tmp_path, "cut") == list(range(1, STEPS + 1))
    assert sorted(path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()) == [
        "checkpoint-100", "checkpoint-110", "checkpoint-120",
    ]  # fmt: skip


@pytest.mark.slow
def test_resume_never_starts_over_and_required_is_refused_without_a_checkpoint(
    request_of: Build, tmp_path: Path
) -> None:
    request = request_of(arguments=ARGUMENTS)
    process = start(tmp_path, {**request, "resume": "required"}, "cut")
    shown, _ = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "resume: is required, and there is no complete checkpoint in" in shown
    killed(tmp_path, request, "cut")
    assert "resuming" not in ended(start(tmp_path, {**request, "resume": "never"}, "cut"))
    # One that has ended well is not resumed: there would be nothing to train.
    assert "resuming" not in ended(start(tmp_path, request, "cut", "--overwrite"))
    assert result(tmp_path, "cut")["train_steps"] == STEPS


@pytest.mark.slow
def test_other_rows_or_arguments_start_over_and_say_so(request_of: Build, tmp_path: Path) -> None:
    killed(tmp_path, request_of(arguments=ARGUMENTS), "cut")
    shown = ended(start(tmp_path, request_of(arguments={**ARGUMENTS, "learning_rate": 2e-3}), "cut"))
    assert "is skipped: it belongs to another request, other rows or another number of processes" in shown
    assert result(tmp_path, "cut")["train_steps"] == STEPS
    # Hours may be in them, and the other learning rate a mistake.
    assert f"the skipped ones are kept in {tmp_path / 'cut' / 'checkpoints.before'}" in shown
    assert any((tmp_path / "cut" / "checkpoints.before").glob("checkpoint-*"))


@pytest.mark.slow
def test_a_training_that_came_to_its_last_step_is_taken_up_without_another(request_of: Build, tmp_path: Path) -> None:
    """What fails after the training, such as the verification, costs no training; 120 steps end inside an epoch."""
    request = request_of(arguments=ARGUMENTS)
    ended(start(tmp_path, request, "whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "model")
    failed = {**result(tmp_path, "cut"), "exit_code": 1}
    (tmp_path / "cut" / "result.json").write_text(json.dumps(failed))
    assert f"resuming after train step {STEPS} of {STEPS}" in ended(start(tmp_path, request, "cut"))
    whole, cut = result(tmp_path, "whole"), result(tmp_path, "cut")
    assert (cut["weights_sha256"], cut["train_steps"]) == (whole["weights_sha256"], 0)
    assert cut["metrics"].items() <= whole["metrics"].items()


@pytest.mark.slow
def test_a_named_checkpoint_elsewhere_is_where_the_first_attempt_begins_only(request_of: Build, tmp_path: Path) -> None:
    request = request_of(arguments=ARGUMENTS)
    ended(start(tmp_path, request, "whole"))
    named = tmp_path / "whole" / "checkpoints" / "checkpoint-100"
    request["arguments"]["resume_from_checkpoint"] = str(named)
    ended(start(tmp_path, request, "cut"))
    assert result(tmp_path, "cut")["train_steps"] == STEPS - 100
    shutil.rmtree(tmp_path / "cut" / "model")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / f"checkpoint-{STEPS}")
    (tmp_path / "cut" / "result.json").unlink()
    assert f"resuming after train step {STEPS - 10} of" in ended(start(tmp_path, request, "cut"))
    assert result(tmp_path, "cut")["weights_sha256"] == result(tmp_path, "whole")["weights_sha256"]
