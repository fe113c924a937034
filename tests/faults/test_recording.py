"""A tracking server that takes a request and never answers, and a step that is to end meanwhile."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_for
from tests.faults.compared import lost
from tests.faults.conftest import Fault
from tests.faults.processes import Attempt, trained

pytestmark = [pytest.mark.torchrun, pytest.mark.slow]
Build = Callable[..., dict[str, Any]]
STEPS = 30


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts and says nothing."""
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    accepted.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in accepted:
        connection.close()


@pytest.fixture
def document(request_of: Build) -> Build:
    """Build the request of these tests, recorded where MLFLOW_TRACKING_URI says."""

    def build(**tracking: Any) -> dict[str, Any]:
        arguments = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 10, "logging_steps": 2}
        recorded = {"kind": "mlflow", **tracking}
        return request_of(arguments=arguments, launch={"grace_seconds": 6}, tracking=recorded)

    return build


@pytest.fixture
def here(tmp_path: Path) -> str:
    """A database that answers."""
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def whole(document: Build, here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The training that nobody disturbs."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here)
    return trained(tmp_path, document(), "whole")


def wait_for_trained(attempt: Attempt) -> None:
    """Wait until the first rank has said what came of the training."""
    wait_for((attempt.output / "attempt" / "result.json").exists)


@pytest.mark.fault("SIGTERM, and a tracking server that does not answer", "training")
def test_the_grace_is_kept(document: Build, silent: str, whole: Path, fault: Fault, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, document(), "cut", MLFLOW_TRACKING_URI=silent)
    attempt.wait_for_logs(3)
    attempt.process.terminate()
    attempt.ends(75, within=7)
    trained(tmp_path, document(), "cut")
    fault.came_to("75 within the grace", lost(whole, attempt.output))


@pytest.mark.fault("SIGTERM, and a tracking server that does not answer", "the model is sent, after the training")
def test_a_model_that_cannot_be_sent_is_there(
    document: Build, silent: str, whole: Path, fault: Fault, tmp_path: Path
) -> None:
    """It waits for `embedstep sync`."""
    attempt = Attempt(tmp_path, document(), "cut", MLFLOW_TRACKING_URI=silent)
    wait_for_trained(attempt)
    attempt.process.terminate()
    shown = attempt.ends(0, within=9)
    assert f"run embedstep sync {attempt.output} to send the rest" in shown.replace("\n", " ")
    fault.came_to("0 within the grace", lost(whole, attempt.output))


@pytest.mark.fault("kill -9 of the step", "the model is sent, after the training")
def test_a_step_that_is_killed_is_done_again(
    document: Build, here: str, whole: Path, fault: Fault, tmp_path: Path
) -> None:
    """What was trained is not trained again, and the step is not taken for a finished one."""
    attempt = Attempt(tmp_path, document(), "cut", MLFLOW_TRACKING_URI=here)
    wait_for_trained(attempt)
    attempt.process.kill()
    attempt.process.communicate()
    assert not (attempt.output / "model").exists()
    deadline = time.monotonic() + 40
    while True:  # what was sending holds the folder for a while
        again = Attempt(tmp_path, document(), "cut", MLFLOW_TRACKING_URI=here)
        shown, _ = again.process.communicate(timeout=120)
        if again.process.returncode != 3 or time.monotonic() > deadline:
            break
    assert again.process.returncode == 0, shown
    assert f"resuming after train step {STEPS} of {STEPS}" in shown
    fault.came_to("0, not trained again", lost(whole, attempt.output))


@pytest.mark.fault("SIGTERM, and a tracking server that does not answer", "tracking.required, start-up")
def test_a_server_that_is_required_is_not_waited_for(
    document: Build, silent: str, fault: Fault, tmp_path: Path
) -> None:
    attempt = Attempt(tmp_path, document(required=True), "cut", MLFLOW_TRACKING_URI=silent)
    wait_for((attempt.output / "plan.json").exists)
    attempt.process.terminate()
    attempt.ends(75, within=6)
    fault.came_to("75 within the grace", None)
