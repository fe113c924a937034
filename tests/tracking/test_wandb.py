"""Runs in Weights & Biases' offline folders, with every metric."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from tests.tracking.logged import NEEDS_WANDB, history, logged

Run = Callable[..., StepResult]
Document = Callable[..., dict[str, Any]]


@NEEDS_WANDB
def test_weights_and_biases_gets_every_metric_offline(
    train_here: Run, evaluated: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    result = train_here(evaluated(tracking={"kind": "wandb"}))
    assert (result.exit_code, result.incomplete_tracking) == (0, ())
    assert logged(result) <= set(history(Path(result.output)))
