"""The output folder that the nodes of a job share."""

from pathlib import Path

import pytest


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared" / "out"
