"""The arguments of a request: words that are nearly one of the choices."""

import json
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.request.arguments.schema import Arguments
from embedstep.request.loading import load_request


def load(given: Any) -> Arguments:
    """The arguments of a request that gives these."""
    docs = {"path": "a.csv", "columns": {"anchor": "a", "positive": "b"}}
    document = {"model": "m", "data": {"train": {"docs": docs}}, "loss": "cosent", "arguments": given}
    return load_request(json.dumps(document)).arguments


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optim": "adamw_torch_fusd"}, "did you mean adamw_torch_fused?"),
        ({"batch_sampler": "NO_DUPLICATES"}, "did you mean no_duplicates?"),
        ({"save_strategy": "bests"}, "did you mean best?"),
        ({"log_level": "warn"}, "did you mean warning?"),
    ],
)
def test_a_word_that_is_nearly_one_of_the_choices_is_refused_with_that_one(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match="must be") as caught:
        load(given)
    assert message in str(caught.value)
