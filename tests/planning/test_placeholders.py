from typing import Any

import pytest

from embedstep.planning.checks import check_request
from embedstep.planning.placeholders import placeholders_are_filled
from embedstep.request.loading import load_request

REQUEST = """
model: {model}
data: {{train: {{docs: {{path: {path}, columns: {{anchor: a, positive: b}}}}}}}}
loss: {loss}
arguments: {{run_name: {run_name}}}
"""
FILLED: dict[str, Any] = {"model": "a/b", "path": "x.parquet", "loss": "cosent", "run_name": "x"}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, []),
        ({"run_name": "<other>"}, []),
        (
            {"model": "<model>"},
            ["model: is still <model>; fill in the folder of a saved model, or the id of a model on the hub"],
        ),
        (
            {"path": "[<train.parquet>]"},
            ["data.train.docs.path: is still <train.parquet>; fill in the file with the rows for training"],
        ),
        ({"loss": "<loss>"}, ["loss: is still <loss>; fill in the name of a loss (docs/losses.md)"]),
        (
            {"loss": "{docs: <loss>}"},
            ["loss.docs.kind: is still <loss>; fill in the name of a loss (docs/losses.md)"],
        ),
        ({"run_name": "<value>"}, ["arguments.run_name: is still <value>; fill in the value"]),
    ],
)
def test_a_placeholder_is_refused_where_it_is_left(changed: dict[str, Any], problem: list[str]) -> None:
    request = load_request(REQUEST.format(**{**FILLED, **changed}))
    assert [str(one) for one in placeholders_are_filled(request)] == problem


def test_nothing_else_is_said_of_a_placeholder() -> None:
    problems = check_request(load_request(REQUEST.format(**{**FILLED, "model": "<model>", "loss": "<loss>"})))
    assert [problem.path for problem in problems] == ["model", "loss"]
