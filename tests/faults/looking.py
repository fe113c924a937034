"""A signal that comes at a chosen one of the places where the ranks look whether they are to end."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.result import StepResult


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def at_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[str]]:
    """Return a function that has SIGTERM come at the n-th place where the ranks look, and gives the places passed."""
    from embedstep.worker.stopping import Stopping

    places: list[str] = []
    at: list[int | None] = [None]
    step_end, look, require_no_sign = Stopping.on_step_end, Stopping.look, Stopping.require_no_sign

    def passed(place: str) -> None:
        places.append(place)
        if len(places) == at[0]:
            interrupt()

    def on_step_end(self: Stopping, *arguments: Any, **options: Any) -> None:
        passed("step")
        step_end(self, *arguments, **options)

    def looking(self: Stopping) -> None:
        passed("evaluation")
        look(self)

    def encoding(self: Stopping) -> None:
        passed("evaluator")
        require_no_sign(self)

    monkeypatch.setattr(Stopping, "on_step_end", on_step_end)
    monkeypatch.setattr(Stopping, "look", looking)
    monkeypatch.setattr(Stopping, "require_no_sign", encoding)

    def arm(number: int | None) -> list[str]:
        at[0] = number
        places.clear()
        return places

    return arm


def uninterrupted(train_here: Callable[..., StepResult], request: dict[str, Any]) -> Path:
    result = train_here(request, "whole")
    assert result.exit_code == 0, result.failure
    return Path(result.output)
