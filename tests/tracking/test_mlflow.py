"""Whole runs next to a tracking server that is away, or a launcher that is killed."""

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

from embedstep.tracking.spool import spools
from tests.conftest import Outcome, wait_for
from tests.faults.processes import faulty
from tests.gateway import Gateway
from tests.tracking.conftest import open_client

Run = Callable[..., Outcome]
Build = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.torchrun, pytest.mark.slow]


def embedstep(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "embedstep", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_server_that_is_away_costs_no_training_and_gets_it_later(
    embedstep_run: Run, evaluated: Build, nobody: str, server: str, tmp_path: Path
) -> None:
    """Never back while the run lasts; one report lost 15 hours of eight GPUs."""
    document = evaluated(tracking={"kind": "mlflow", "uri": nobody, "experiment": "later", "register_as": "later"})
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("does not answer") == 1
    result = outcome.json("result.json")
    (missing,) = result["incomplete_tracking"]
    assert missing.startswith(f"tracking: MLflow at {nobody} does not answer: ")
    assert missing.endswith(f"; run embedstep sync {outcome.output} to send the rest")
    assert f"not recorded: {missing}" in outcome.out
    still_away = embedstep("sync", str(outcome.output), folder=tmp_path)
    assert still_away.returncode == 3
    assert "does not answer" in still_away.stderr
    later = embedstep("sync", str(outcome.output), "--uri", server, folder=tmp_path)
    assert later.returncode == 0, later.stderr
    client = open_client(server)
    (run,) = client.search_runs([client.get_experiment_by_name("later").experiment_id])
    assert later.stdout == f"{outcome.output}: sent to the run {run.info.run_id} at {server}\n"
    assert run.info.status == "FINISHED"
    assert run.info.end_time - run.info.start_time < 1000 * (result["seconds"]["total"] + 1)
    assert run.data.metrics["eval_docs_cosine_ndcg_at_10"] == result["metrics"]["eval_docs_cosine_ndcg@10"]
    assert client.get_model_version_by_alias("later", "challenger").run_id == run.info.run_id
    again = embedstep("sync", str(outcome.output), folder=tmp_path)
    assert (again.returncode, again.stdout) == (0, f"{outcome.output}: everything has arrived\n")


def test_a_run_that_requires_its_server_does_not_begin_without(
    embedstep_run: Run, request_of: Build, nobody: str
) -> None:
    outcome = embedstep_run(request_of(tracking={"kind": "mlflow", "uri": nobody, "required": True}))
    assert outcome.code == 3
    assert "does not answer" in outcome.err
    assert not (outcome.output / "progress.json").exists()
    assert outcome.json("result.json")["failure"]["kind"] == "CannotStartError"


def test_a_retry_in_the_same_folder_is_the_same_run(embedstep_run: Run, request_of: Build, tmp_path: Path) -> None:
    document = request_of(tracking={"kind": "mlflow"})
    failed = embedstep_run(document, environ=faulty("raise", "step", rank=0)).json("result.json")
    outcome = embedstep_run(document)
    assert outcome.code == 0, outcome.err
    result = outcome.json("result.json")
    assert result["run_id"] == failed["run_id"]
    run = open_client(result["tracking_uri"]).get_run(result["run_id"])
    assert (run.info.status, run.data.tags["embedstep.attempts"]) == ("FINISHED", "2")
    another = embedstep_run(document, "--overwrite").json("result.json")
    assert another["run_id"] != result["run_id"]


def test_a_resumed_run_resumes_in_its_history(embedstep_run: Run, request_of: Build) -> None:
    """Killed in the third step, resumed from the newest checkpoint; no step is missing or double.

    That of the second step may not have its name yet, which it gets while the training runs.
    """
    document = request_of(
        tracking={"kind": "mlflow"},
        arguments={"max_steps": 6, "logging_steps": 1, "save_strategy": "steps", "save_steps": 1},
    )
    killed = embedstep_run(document, environ=faulty("kill", "step", rank=0))
    assert killed.code == 1
    assert killed.json("error.json")["message"].startswith("rank 0 was killed by SIGKILL")
    result = killed.json("result.json")
    client = open_client(result["tracking_uri"])
    # It was the rank that writes what is recorded.
    assert client.get_run(result["run_id"]).info.status == "FAILED"
    outcome = embedstep_run(document, "--set", "arguments.resume_from_checkpoint=last")
    assert outcome.code == 0, outcome.err
    assert outcome.json("result.json")["run_id"] == result["run_id"]
    run = client.get_run(result["run_id"])
    assert (run.info.status, run.data.tags["embedstep.attempts"]) == ("FINISHED", "2")
    assert [point.step for point in client.get_metric_history(result["run_id"], "loss")] == [1, 2, 3, 4, 5, 6]
    found = outcome.json("result.json")
    assert found["train_steps"] in (4, 5)
    assert [one["exit_code"] for one in found["cost"]["attempts"]] == [1, 0]
    assert 0 < found["cost"]["lost_hours"] < found["cost"]["hours"]
    assert run.data.metrics["cost/lost_process_hours"] == found["cost"]["lost_hours"]


def test_a_server_two_seconds_away_has_the_run_before_the_gate_asks(
    embedstep_run: Run, evaluated: Build, server: str, tmp_path: Path
) -> None:
    """What was recorded is there when the step ends, so that the next one finds it."""
    with Gateway(server, seconds=2).open() as gateway:
        tracking = {"kind": "mlflow", "uri": gateway.url, "experiment": "far", "register_as": "far"}
        # A hundredth of so short a training is not patient enough for such a server.
        outcome = embedstep_run(evaluated(tracking=tracking, arguments={"max_steps": 300}))
        assert outcome.code == 0, outcome.err
        assert outcome.json("result.json")["incomplete_tracking"] == []
        gateway.seconds = 0.2
        process = embedstep("promote", "request.yaml", str(outcome.output), folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert (outcome.output / "verdict.json").exists()


def test_a_loss_that_leaves_python_has_failed(embedstep_run: Run, request_of: Build) -> None:
    outcome = embedstep_run(request_of(tracking={"kind": "mlflow"}), environ=faulty("leave python", "step", rank=0))
    assert outcome.code == 1
    result = outcome.json("result.json")
    assert open_client(result["tracking_uri"]).get_run(result["run_id"]).info.status == "FAILED"


def test_a_launcher_that_is_killed_leaves_no_run_running(
    request_of: Build, mlflow_database: Path, tmp_path: Path
) -> None:
    document = request_of(tracking={"kind": "mlflow"}, arguments={"max_steps": 100_000})
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(document))
    shutil.copyfile(mlflow_database, tmp_path / "mlflow.db")
    output = tmp_path / "output"
    process = subprocess.Popen(
        [sys.executable, "-m", "embedstep", "run", "request.yaml", "--output", str(output)],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: bool(spools(output)) and spools(output)[0].sent.run_id is not None)
        (torchrun,) = wait_for_one(lambda: torchruns(process.pid))
        wait_for((output / "progress.json").exists)
        (worker,) = children(torchrun)
    finally:
        process.kill()
        process.wait()
    # Nobody is left to end the training; it would run for hours.
    os.killpg(torchrun, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{worker}").exists())
    (spool,) = spools(output)
    wait_for(lambda: spool.is_sent)
    run = open_client(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(spool.sent.run_id)
    assert run.info.status == "FAILED"


def wait_for_one(find: Callable[[], list[int]]) -> list[int]:
    """Wait until something is found, and return it."""
    wait_for(lambda: bool(find()))
    return find()


def torchruns(pid: int) -> list[int]:
    """The process groups of torchrun that a launcher has started."""
    return [child for child in children(pid) if b"torchrun" in Path(f"/proc/{child}/cmdline").read_bytes()]


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
