"""The same training again, from a folder and from an MLflow run."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Outcome

Build = Callable[..., dict[str, Any]]
Run = Callable[..., Outcome]

pytestmark = pytest.mark.slow


def replay(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "embedstep", "replay", *words],
        cwd=folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_a_run_is_trained_again_to_the_bit(
    request_of: Build, data_folder: Path, embedstep_run: Run, tmp_path: Path
) -> None:
    """By 2 processes as before, although the machine would take one by itself; and not when the rows have changed."""
    rows = tmp_path / "rows.jsonl"
    shutil.copyfile(data_folder / "train.jsonl", rows)
    document = request_of(launch={"processes_per_node": 2}, arguments={"per_device_train_batch_size": 16})
    document["data"]["train"]["docs"]["path"] = str(rows)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    outcome = embedstep_run({**document, "tracking": {"kind": "mlflow", "uri": uri}})
    assert outcome.code == 0, outcome.err
    result = outcome.json("result.json")
    process = replay(tmp_path, result["run_id"], "--uri", uri, "--output", "again", "--json")
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found == json.loads((tmp_path / "again/replay.json").read_text())
    assert (found["equal"], found["weights"], found["versions"]) == (True, [result["weights_sha256"]] * 2, {})
    assert json.loads((tmp_path / "again/plan.json").read_text())["world_size"] == 2

    changed = json.loads(outcome.output.joinpath("result.json").read_text())
    changed["weights_sha256"], changed["versions"]["torch"] = "0" * 64, "1.0"
    (outcome.output / "result.json").write_text(json.dumps(changed))
    process = replay(tmp_path, "output", "--output", "other")
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[0].startswith("not equal: the weights of output were 000000000000 and are now ")
    assert process.stdout.splitlines()[-1].split()[:2] == ["torch", "1.0"]

    rows.write_text(rows.read_text().replace("open", "reopen", 1))
    process = replay(tmp_path, "output", "--output", "third")
    assert process.returncode == 2
    assert "data.train.docs: has changed since the run: 130 rows then, 130 now; restore them" in process.stderr
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "Run with id=nothing not found"),
        (("empty",), "has recorded no request.json and no plan.json and no result.json"),
    ],
)
def test_what_cannot_be_trained_again_is_refused(tmp_path: Path, uri: str, words: tuple[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    process = replay(tmp_path, *words, "--uri", uri)
    assert process.returncode == 2, process.stderr
    assert message in process.stderr
    assert "Traceback" not in process.stderr
