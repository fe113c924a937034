"""The section `model` says one thing, and knows which files it is built from."""

from typing import Any

import pytest
from pydantic import ValidationError

from embedstep.request.model import Model


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"path": "a", "static": "b", "dimension": 8},
        {"path": "a", "dimension": 8},
        {"static": "a"},
        {"static": "a", "dimension": 8, "initial_vectors": "word_embeddings"},
        {"static": "a", "dimension": 8, "max_seq_length": 128},
    ],
    ids=str,
)
def test_a_model_that_is_two_things_or_none_is_refused(model: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate(model)


def test_the_sources_of_a_model_are_those_of_all_its_modules() -> None:
    router = {
        "kind": "router",
        "routes": {
            "query": [{"kind": "static_embedding", "options": {"path": "vectors"}}],
            "document": ["transformer", {"kind": "word_weights", "options": {"word_weights": "weights.json"}}],
        },
    }
    assert Model.model_validate({"path": "base", "modules": [router]}).sources == ("base", "vectors", "weights.json")
    assert Model.model_validate({"modules": [{"kind": "bow", "options": {"vocab": ["a", "b"]}}]}).source == ""
    assert Model.model_validate("base").source == "base"
