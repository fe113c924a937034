"""What an orchestrator sets for one step counts in that step's thread, and nowhere else."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from embedstep.request.schema import TRACKING_RUN_ID, TRACKING_URI
from embedstep.tracking.environment import tracking_environ, tracking_override


def test_an_override_stands_over_the_environment_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKING_URI, "http://everywhere")
    with tracking_override("http://here", "run-1"):
        assert tracking_environ()[TRACKING_URI] == "http://here"
        assert tracking_environ()[TRACKING_RUN_ID] == "run-1"
    assert tracking_environ()[TRACKING_URI] == "http://everywhere"


def test_an_override_without_a_run_leaves_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACKING_RUN_ID, "run-0")
    with tracking_override("http://here"):
        assert tracking_environ()[TRACKING_RUN_ID] == "run-0"


def test_another_thread_does_not_see_it() -> None:
    with tracking_override("http://here"), ThreadPoolExecutor() as pool:
        assert pool.submit(tracking_environ).result().get(TRACKING_URI) != "http://here"
