"""What changes the identity of a request, and that of a training."""

from collections.abc import Mapping
from typing import Any

import pytest

from embedstep.request.fingerprint import request_fingerprint, training_fingerprint
from embedstep.request.schema import TrainRequest
from tests.request.test_schema import request

ROWS = {"train.docs": "a" * 64}


def of_training(found: TrainRequest, processes: int = 1, rows: Mapping[str, str] = ROWS) -> str:
    return training_fingerprint(found, rows, processes)


@pytest.mark.parametrize(
    "sections", [{"schedule": {"cron": "0 3 * * 1"}}, {"resume": "never"}, {"arguments": {}}, {"launch": {"nodes": 1}}]
)
def test_when_it_runs_and_spelled_out_defaults_do_not_change_a_request(sections: dict[str, Any]) -> None:
    assert request_fingerprint(request(**sections)) == request_fingerprint(request())


@pytest.mark.parametrize(
    "sections", [{"arguments": {"seed": 1}}, {"launch": {"nodes": 2}}, {"tracking": {"kind": "none"}}]
)
def test_what_it_does_changes_a_request(sections: dict[str, Any]) -> None:
    assert request_fingerprint(request(**sections)) != request_fingerprint(request())


@pytest.mark.parametrize(
    "sections",
    [
        {"tracking": {"kind": "none"}},
        {"promotion": {"minimum_gain": 0.1}},
        {"skip_if_unchanged": True},
        {"arguments": {"output_dir": "elsewhere", "run_name": "monday"}},
    ],
)
def test_where_a_training_is_recorded_and_judged_does_not_change_it(sections: dict[str, Any]) -> None:
    assert of_training(request(**sections)) == of_training(request())


def test_rows_processes_and_arguments_change_a_training() -> None:
    found = {
        of_training(request()), of_training(request(), 2), of_training(request(), rows={"train.docs": "b" * 64}),
        of_training(request(arguments={"learning_rate": 1e-3})),
        *(of_training(request(early_stopping={"patience": patience})) for patience in (1, 2)),
    }  # fmt: skip
    assert len(found) == 6


@pytest.mark.parametrize(
    "model",
    [
        {"pooling": "cls"},
        {"layers": {"keep": [0]}},
        {"freeze": ["embeddings"]},
        {"modules": ["transformer", "pooling"]},
        {"modules": ["transformer", "pooling", {"kind": "dense", "options": {"out_features": 8}}]},
    ],
)
def test_what_is_changed_in_a_model_changes_its_training(model: dict[str, Any]) -> None:
    plain, changed = (request(model={"path": "m", **more}) for more in ({}, model))
    assert of_training(changed) != of_training(plain)
    assert request_fingerprint(changed) != request_fingerprint(plain)


def test_modules_are_the_same_in_each_way_of_writing() -> None:
    short, long = (
        request(model={"path": "m", "modules": [module], "pooling": None, "freeze": []})
        for module in ("static_embedding", {"kind": "static_embedding", "options": None, "routes": None})
    )
    assert of_training(short) == of_training(long)


def test_what_is_held_out_changes_a_request_and_a_null_does_not() -> None:
    def held_out(hold_out: object) -> str:
        docs = {"path": "a.parquet", "columns": {"anchor": "q", "positive": "a"}, "hold_out": hold_out}
        return request_fingerprint(request(data={"train": {"docs": docs}}))

    assert held_out(None) == request_fingerprint(request())
    given = [None, {"share": 0.1}, {"share": 0.2}, {"share": 0.1, "seed": 1}, {"share": 0.1, "by": "positive"}]
    assert len({held_out(one) for one in given}) == 5
    assert held_out({"share": 0.1}) == held_out({"share": "0.1", "by": "anchor", "seed": 42})


def test_how_a_file_is_delimited_changes_a_request_and_only_its_rows_a_training() -> None:
    docs = {"path": "a.csv", "columns": {"anchor": "a", "positive": "b"}}
    plain, unset, changed = (
        request(data={"train": {"docs": {**docs, **more}}}) for more in ({}, {"csv": None}, {"csv": {"delimiter": ";"}})
    )
    assert request_fingerprint(plain) == request_fingerprint(unset) != request_fingerprint(changed)
    assert of_training(plain) == of_training(changed)
