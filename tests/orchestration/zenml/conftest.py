"""A function of ZenML's adapter, as a program in a folder imports it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def on_kubernetes(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The function, imported as from a program in a folder: a worker of the tests is none to ZenML."""
    from zenml.utils.source_utils import set_custom_source_root

    set_custom_source_root(str(tmp_path))
    from embedstep.orchestration.zenml import on_kubernetes

    return on_kubernetes
