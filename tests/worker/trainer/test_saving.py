"""What saving adds to the library's files, and a hub that takes none."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.output.result import StepResult
from embedstep.worker.trainer.trainer import StepTrainer

Build = Callable[..., dict[str, Any]]
Train = Callable[[Mapping[str, Any]], StepResult]


def test_a_hub_that_does_not_answer_is_exit_3(
    train_here: Train, request_of: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(trainer: StepTrainer, *arguments: Any) -> None:
        raise ConnectionError("name or service not known")

    monkeypatch.setattr(StepTrainer, "init_hf_repo", unreachable)
    result = train_here(request_of(arguments={"push_to_hub": True, "hub_model_id": "org/model"}))
    assert (result.exit_code, result.outcome) == (3, "cannot_start")
    assert result.failure is not None
    message = "arguments.push_to_hub: the hub cannot be written to: name or service not known"
    assert result.failure.message == message


class TransportError(Exception):
    """What any client of HTTP calls it when a host is not found."""


@pytest.mark.parametrize(
    ("status", "expected"), [(401, InvalidRequestError), (403, InvalidRequestError), (503, CannotStartError)]
)
def test_only_a_hub_that_refuses_is_not_asked_again(status: int, expected: type[Exception]) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    from embedstep.worker.trainer.saving import translate_hub_errors

    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    with pytest.raises(expected, match="the hub cannot be written to"), translate_hub_errors():
        raise HfHubHTTPError("no", response=response)
    for error in (TransportError("unknown"), ConnectionError("refused"), TimeoutError("late")):
        with pytest.raises(CannotStartError, match=str(error)), translate_hub_errors():
            raise error
    with pytest.raises(KeyError), translate_hub_errors():
        raise KeyError("other")
