"""A small request that a gate can decide about, for ZenML and Airflow."""

from collections.abc import Callable
from typing import Any

import pytest

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def document(evaluated: Build, own_uri: str) -> Build:
    """A small request that a gate can decide about."""

    def build(**sections: Any) -> dict[str, Any]:
        return evaluated(
            arguments={"max_steps": 4, "eval_strategy": "steps", "eval_steps": 4},
            tracking={"uri": own_uri, "register_as": "docs"},
            promotion={"metric": "docs_cosine_ndcg@10"}, **sections,
        )  # fmt: skip

    return build
