"""A request that is refused while it is read: what can be read of it is checked as well, to report all at once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.planning.further_problems import data_problems, further_problems
from embedstep.request.loading import load_request

Build = Callable[..., dict[str, Any]]


def refused(text: str) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        load_request(text)
    return caught.value


def further(document: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in further_problems(refused(json.dumps(document)))]


def test_request_model_and_rows_are_checked_besides(request_of: Build, tmp_path: Path) -> None:
    document = request_of(model="./none", loss="cosnt", arguments={"learning_rate": "quick"})
    (tmp_path / "rows.jsonl").write_text('{"anchor": "a", "positive": 1}\n')
    document["data"]["train"]["docs"]["path"] = str(tmp_path / "rows.jsonl")
    assert further(document) == [
        "model.path: none does not exist",
        "loss.kind: no loss is named 'cosnt'; did you mean cosent?",
        "data.train.docs.columns.positive: column 'positive' holds integers; a positive is text or a list of texts",
    ]


@pytest.mark.parametrize("text", ["{", "[]", "model: x", "{model: 5, data: {}, loss: cosent}"])
def test_a_document_without_its_sections_has_no_rest(text: str) -> None:
    assert further_problems(refused(text)) == []


def test_rows_on_the_hub_are_not_fetched_for_it(request_of: Build) -> None:
    columns = {"anchor": "q", "positive": "a"}
    there = {"hub": "org/pairs", "split": "train", "revision": "main", "columns": columns}
    document = request_of()
    document["data"]["train"]["there"] = there
    assert list(data_problems(load_request(json.dumps(document)))) == []
