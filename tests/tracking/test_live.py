"""The sender as a process next to a training, whose launcher may vanish and whose server may be away."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedstep.tracking.spool import Spool, SpoolFolder
from tests.conftest import wait_for
from tests.gateway import Gateway
from tests.tracking.conftest import Started, open_client

pytestmark = pytest.mark.slow


def sender(output: Path, uri: str) -> "subprocess.Popen[bytes]":
    """Start one; what it says is in `shown` next to the output folder."""
    with (output.parent / "shown").open("wb") as shown:
        return subprocess.Popen(
            [sys.executable, "-m", "embedstep.tracking.sender", str(output), uri],
            stdin=subprocess.PIPE, stderr=shown, env={**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        )  # fmt: skip


def close(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()


def test_what_is_spooled_arrives_while_the_training_resumes(uri: str, started: Started, tmp_path: Path) -> None:
    folder, spool = started()
    process = sender(tmp_path / "output", uri)
    client = open_client(uri)
    for step in (1, 2):
        spool.metrics({"loss": 1 / step}, train_step=step)
        wait_for(lambda step=step: folder.sent.run_id is not None and _last(client, folder.sent.run_id) == step)  # type: ignore[misc]
    spool.end("FINISHED", patience=1)
    close(process)
    assert process.wait(timeout=60) == 0
    run = client.get_run(folder.sent.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["system/cpu_utilization_percentage"] >= 0
    assert folder.is_sent


def _last(client: object, run_id: str) -> int:
    history = client.get_metric_history(run_id, "loss")  # type: ignore[attr-defined]
    return max((point.step for point in history), default=0)


def test_a_launcher_that_is_gone_without_a_word_has_failed(uri: str, started: Started, tmp_path: Path) -> None:
    folder, _ = started()
    process = sender(tmp_path / "output", uri)
    wait_for(lambda: folder.sent.run_id is not None)
    close(process)
    assert process.wait(timeout=60) == 0
    assert open_client(uri).get_run(folder.sent.run_id).info.status == "FAILED"


def waited_for(uri: str, started: Started, output: Path, *, away: float, patience: float) -> tuple[float, SpoolFolder]:
    """Seconds that a sender waits at the end for a server that has been away for a while, and its spool."""
    folder, spool = started()
    process = sender(output, uri)
    wait_for(lambda: folder.sent.last_error != "")
    time.sleep(away)
    began = time.monotonic()
    spool.end("FINISHED", patience=patience)
    close(process)
    assert process.wait(timeout=60) == 3
    return time.monotonic() - began, folder


def test_a_server_that_went_is_waited_for_as_long_as_the_end_allows(
    nobody: str, started: Started, tmp_path: Path
) -> None:
    seconds, folder = waited_for(nobody, started, tmp_path / "output", away=0, patience=4)
    assert 3 <= seconds < 17
    shown = (tmp_path / "shown").read_text()
    assert shown.count("does not answer") == 1
    assert f"nsent records are kept in {folder.path}" in shown
    assert not folder.is_sent


def test_a_server_that_was_away_all_along_is_not_waited_for_at_the_end(
    nobody: str, started: Started, tmp_path: Path
) -> None:
    seconds, folder = waited_for(nobody, started, tmp_path / "output", away=6, patience=6)
    assert seconds < 6
    assert not folder.is_sent


def test_a_server_that_comes_back_before_the_end_has_everything(server: str, started: Started, tmp_path: Path) -> None:
    """Down at the start, back later."""
    folder, spool = started()
    with Gateway(server, status=503, code="TEMPORARILY_UNAVAILABLE").open() as gateway:
        process = sender(tmp_path / "output", gateway.url)
        spool.metrics({"loss": 0.5}, train_step=5)
        wait_for(lambda: folder.sent.last_error != "")
        gateway.status = None
        spool.metrics({"loss": 0.25}, train_step=10)
        spool.end("FINISHED", patience=60)
        close(process)
        assert process.wait(timeout=60) == 0
    run = open_client(server).get_run(folder.sent.run_id)
    assert (run.info.status, run.data.metrics["loss"]) == ("FINISHED", 0.25)


def test_what_an_earlier_attempt_left_goes_first(uri: str, started: Started, tmp_path: Path) -> None:
    lost, spool = started(uri=uri)
    spool.metrics({"loss": 0.5}, train_step=5)
    folder, spool = started(uri=uri)
    spool.metrics({"loss": 0.25}, train_step=10)
    spool.end("FINISHED", patience=1)
    process = sender(tmp_path / "output", uri)
    close(process)
    assert process.wait(timeout=60) == 0
    assert lost.is_sent
    assert lost.status == "FAILED"
    client = open_client(uri)
    run = client.get_run(folder.sent.run_id)
    assert (run.info.status, run.info.run_id) == ("FINISHED", lost.sent.run_id)
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [5, 10]


def test_a_slow_server_has_all_that_came_before_the_end(server: str, started: Started, tmp_path: Path) -> None:
    folder, spool = started()
    for step in range(1, 2001):
        spool.metrics({"loss": 1 / step}, train_step=step)
    spool.end("FINISHED", patience=1)
    with Gateway(server, seconds=0.2).open() as gateway:
        process = sender(tmp_path / "output", gateway.url)
        close(process)
        assert process.wait(timeout=60) == 0
        # Two thousand points take a few requests, not two thousand.
        assert len(gateway.paths) < 40
    assert len(open_client(server).get_metric_history(folder.sent.run_id, "loss")) == 2000
    assert Spool(folder=folder).not_recorded == []


def test_a_server_that_goes_for_a_while_loses_nothing(server: str, started: Started, tmp_path: Path) -> None:
    """Away from the sixth step to the ninth, with one sender."""
    folder, spool = started()
    with Gateway(server).open() as gateway:
        process = sender(tmp_path / "output", gateway.url)
        for step in range(1, 6):
            spool.metrics({"loss": 1 / step}, train_step=step)
        wait_for(lambda: folder.sent.run_id is not None and _last(open_client(server), folder.sent.run_id) == 5)
        gateway.status = 503
        for step in range(6, 10):
            spool.metrics({"loss": 1 / step}, train_step=step)
        wait_for(lambda: bool(folder.sent.last_error))
        gateway.status = None
        spool.metrics({"loss": 0.1}, train_step=10)
        spool.end("FINISHED", patience=60)
        close(process)
        assert process.wait(timeout=90) == 0
    client = open_client(server)
    assert client.get_run(folder.sent.run_id).info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(folder.sent.run_id, "loss")] == list(range(1, 11))
    assert folder.is_sent
