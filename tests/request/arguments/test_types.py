"""Values as either era wrote them."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from embedstep.request.arguments.types import (
    Checkpoint,
    DebugOptions,
    FsdpOptions,
    MappingOrJson,
    Names,
    Secret,
    TokenCount,
)


@pytest.mark.parametrize(
    ("type_", "raw", "value"),
    [
        (MappingOrJson, '{"a": 1}', {"a": 1}),
        (MappingOrJson, {"a": "yes", "b": ["no", "3", "text"]}, {"a": True, "b": [False, 3, "text"]}),
        (Names, "mlflow tensorboard", ["mlflow", "tensorboard"]),
        (Names, ["mlflow"], ["mlflow"]),
        (DebugOptions, "", []),
        (FsdpOptions, True, ["full_shard"]),
        (FsdpOptions, False, []),
        (FsdpOptions, "full_shard offload", ["full_shard", "offload"]),
        (TokenCount, True, "all"),
        (TokenCount, "False", "no"),
        (Checkpoint, "", None),
        (Checkpoint, False, None),
        (Checkpoint, True, "true"),
        (Checkpoint, "out/checkpoint-5", "out/checkpoint-5"),
    ],
    ids=lambda value: getattr(value, "__name__", "type") if hasattr(value, "__metadata__") else repr(value),
)
def test_a_value_of_either_era_is_read(type_: Any, raw: Any, value: Any) -> None:
    assert TypeAdapter(type_).validate_python(raw) == value


@pytest.mark.parametrize(
    ("type_", "raw"),
    [
        (MappingOrJson, "{a: 1"),
        (FsdpOptions, "half_shard"),
        (Secret, "hf_abcdefghijklmnop"),
        (Secret, {"from_env": "1"}),
    ],
)
def test_a_value_without_a_meaning_is_refused(type_: Any, raw: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(type_).validate_python(raw)
