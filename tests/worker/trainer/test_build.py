"""What the trainer is built of: the arguments of the ledger, and a combination that the library refuses."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from embedstep.errors import REFUSED
from embedstep.output.result import StepResult

Build = Callable[..., dict[str, Any]]
Train = Callable[[Mapping[str, Any]], StepResult]


def test_the_arguments_that_arrive_are_those_of_the_ledger(
    train_here: Train, request_of: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedstep.worker import train as module
    from embedstep.worker.trainer import build

    arrived: dict[str, Any] = {}
    build_real = build.build_trainer

    def spy(request: Any, plan: Any, model: Any, arguments: Any, *others: Any) -> Any:
        arrived.update(arguments.to_dict())
        return build_real(request, plan, model, arguments, *others)

    monkeypatch.setattr(module, "build_trainer", spy)
    train_here(
        request_of(arguments={"weight_decay": 0.1, "lr_scheduler_type": "cosine", "seed": 7, "max_grad_norm": 0.5})
    )
    assert arrived["weight_decay"] == 0.1
    assert arrived["lr_scheduler_type"] == "cosine"
    assert arrived["seed"] == 7
    assert arrived["max_grad_norm"] == 0.5
    assert arrived["learning_rate"] == 1e-3
    assert arrived["use_cpu"] is True
    assert arrived["report_to"] == []


def test_a_combination_that_the_installed_class_refuses_is_exit_2(train_here: Train, request_of: Build) -> None:
    twice = {
        "gradient_accumulation_steps": 2,
        "accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 2}},
    }
    result = train_here(request_of(arguments=twice))
    assert result.exit_code == REFUSED
    assert result.failure is not None
    assert result.failure.traceback == ()
    assert result.failure.problems[0].startswith("arguments: ")
