"""The package next to this file on the path, as an installed one: with entry points and without pip."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.step import plan_step
from tests.conftest import pair_rows

PACKAGE = Path(__file__).parent / "package"
ENTRY_POINTS = """
[embedstep.losses]
margin_cosine = birdsong:margin_cosine
lost = birdsong:lost
[embedstep.evaluators]
mean_cosine = birdsong:mean_cosine
[embedstep.modules]
scaling = birdsong:scaling
[embedstep.batch_samplers]
blocks = birdsong:blocks
one_label = birdsong:one_label
[embedstep.row_functions]
sentences = birdsong:sentences
[embedstep.row_sources]
opposites = birdsong:opposites
[embedstep.transforms]
swap_words = birdsong:swapping
[embedstep.trackers]
text_file = birdsong:text_file
"""


@pytest.fixture(scope="module")
def birdsong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package in the path of this process and of those that it starts."""
    installed = tmp_path_factory.mktemp("site-packages")
    about = installed / "birdsong-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: birdsong\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    path, python_path = list(sys.path), os.environ.get("PYTHONPATH", "")
    sys.path[:0] = [str(PACKAGE), str(installed)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PACKAGE), str(installed), python_path])
    yield
    sys.path[:] = path
    os.environ["PYTHONPATH"] = python_path


@pytest.fixture
def plan_request(request_of: Callable[..., dict[str, Any]]) -> Callable[..., Plan]:
    """Plan a small request; keyword arguments as for `request_of`."""
    return lambda **sections: plan_step(load_request(json.dumps(request_of(**sections))))


@pytest.fixture
def problems_of(plan_request: Callable[..., Plan]) -> Callable[..., list[str]]:
    """Return what a small request is refused for."""

    def ask(**sections: Any) -> list[str]:
        with pytest.raises(InvalidRequestError) as caught:
            plan_request(**sections)
        return str(caught.value).splitlines()

    return ask


@pytest.fixture
def scored(data_folder: Path) -> Callable[..., dict[str, Any]]:
    """The data section of pairs with a score."""
    columns = {"anchor": "anchor", "positive": "positive", "label": "score"}
    return lambda **more: {"train": {"docs": {"path": str(data_folder / "train.jsonl"), "columns": columns}}, **more}


@pytest.fixture
def articles(tmp_path: Path) -> Path:
    """20 articles of two sentences each, and one without a body."""
    rows = [{"title": row["anchor"], "body": f"{row['positive']}. {row['negative']}."} for row in pair_rows(20)]
    rows.append({"title": "nothing", "body": None})
    file = tmp_path / "articles.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
