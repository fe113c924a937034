"""What cannot be mined is refused before a model is loaded; tests of the mining itself are in `test_task`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.orchestration.mine_negatives import mine_negatives
from embedstep.request.loading import load_request

Build = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("columns", "options", "paths"),
    [
        ({"anchor": "anchor", "positive": "positive"}, {}, ["data.train.docs.columns.negative"]),
        (
            {"anchor": "anchor", "negative": "hard", "label": "score"},
            {},
            ["data.train.docs.columns", "data.train.docs.columns.label"],
        ),
        (
            {"anchor": "anchor", "positive": "positive", "negative": "hard"},
            {"sampling_strategy": "closest"},
            ["sampling_strategy"],
        ),
    ],
)
def test_every_problem_is_reported_and_nothing_is_written(
    columns: dict[str, str], options: dict[str, Any], paths: list[str], request_of: Build, tmp_path: Path
) -> None:
    document = request_of()
    document["data"]["train"]["docs"]["columns"] = columns
    with pytest.raises(InvalidRequestError) as caught:
        mine_negatives(load_request(json.dumps(document)), tmp_path / "rows", options)
    assert [problem.path for problem in caught.value.problems] == paths
    assert not (tmp_path / "rows").exists()


def test_a_group_that_mined_rows_do_not_have_holds_nothing_out(request_of: Build, tmp_path: Path) -> None:
    document = request_of()
    columns = {"anchor": "anchor", "positive": "positive", "negative": "hard"}
    document["data"]["train"]["docs"] |= {"columns": columns, "hold_out": {"share": 0.1, "by": "team"}}
    with pytest.raises(
        InvalidRequestError, match=r"^data\.train\.docs\.hold_out\.by: is team, a column that mined rows"
    ):
        mine_negatives(load_request(json.dumps(document)), tmp_path / "rows", {})
