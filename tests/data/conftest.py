"""Reading in a fresh folder, so that tests name files as a person would."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.data.reading import scan
from embedstep.data.roles import ANY_ROWS, RowNeeds
from embedstep.errors import InvalidRequestError
from embedstep.request.datasets import Dataset
from tests.extensions.installed import articles, birdsong, plan_request, problems_of

__all__ = ["articles", "birdsong", "plan_request", "problems_of"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _read(
    path: str | list[str],
    *,
    drop: bool = False,
    write_to: Path | None = None,
    limit: int | None = None,
    needs: RowNeeds = ANY_ROWS,
    **more: Any,
) -> DatasetFacts:
    given = {name: more.pop(name, None) for name in ("split", "csv", "sheet")}
    dataset = Dataset.model_validate({"path": path, "limit": limit, "columns": more, **given})
    return scan("train", "docs", dataset, drop_incomplete_rows=drop, write_to=write_to, needs=needs)


@pytest.fixture
def read() -> Callable[..., DatasetFacts]:
    """Return the function that scans `path` with the roles given by name."""
    return _read


@pytest.fixture
def texts() -> Callable[..., list[tuple[Any, ...]]]:
    """Return the function that scans like `read` and returns the kept rows, each as its texts."""

    def kept(path: str, **more: Any) -> list[tuple[Any, ...]]:
        _read(path, write_to=Path("kept.arrow"), **more)
        with pa.ipc.open_stream(Path("kept.arrow").read_bytes()) as reader:
            return [tuple(row.values()) for row in reader.read_all().to_pylist()]

    return kept


@pytest.fixture
def refusal() -> Callable[..., list[str]]:
    """Return the function that scans like `read` and returns the problems, each as `path: message`."""

    def refused(path: str | list[str], **more: Any) -> list[str]:
        with pytest.raises(InvalidRequestError) as caught:
            _read(path, **more)
        return [str(problem) for problem in caught.value.problems]

    return refused
