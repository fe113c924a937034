"""A small request that a gate can decide about, for the doors of ZenML and of Airflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def document(evaluated: Build, tmp_path: Path) -> Build:
    """A small request that a gate can decide about."""

    def build(**sections: Any) -> dict[str, Any]:
        return evaluated(
            arguments={"max_steps": 4, "eval_strategy": "steps", "eval_steps": 4},
            tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db", "register_as": "docs"},
            promotion={"metric": "docs_cosine_ndcg@10"}, **sections,
        )  # fmt: skip

    return build
