"""A transform of another package draws in each epoch, and its code is a part of the training's identity."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.data import transforms
from embedstep.planning.plan import Plan

pytestmark = pytest.mark.usefixtures("birdsong")


def swapped(path: Path, transform: Any) -> dict[str, Any]:
    columns = {"anchor": "positive", "positive": "positive"}
    return {"train": {"docs": {"path": str(path), "columns": columns, "transform": transform}}}


@pytest.mark.parametrize("name", ["swap_words", "birdsong:swapping"])
def test_it_is_planned_by_either_name(plan_request: Callable[..., Plan], data_folder: Path, name: str) -> None:
    plan = plan_request(data=swapped(data_folder / "train.jsonl", {"kind": name, "options": {"times": 3}}))
    assert "data.train.docs: swap_words (times 3) draws anchor in each epoch" in plan.notes


def test_its_options_are_checked(problems_of: Callable[..., list[str]], data_folder: Path) -> None:
    data = swapped(data_folder / "train.jsonl", {"kind": "swap_words", "options": {"times": 0}})
    assert problems_of(data=data) == ["data.train.docs.transform.options.times: must be an integer of 1 or more, not 0"]


def test_other_code_is_another_training(
    plan_request: Callable[..., Plan], data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = swapped(data_folder / "train.jsonl", "swap_words")
    before = plan_request(data=data)
    monkeypatch.setattr(transforms, "code_digest", lambda module: "other code")
    after = plan_request(data=data)
    assert before.training_fingerprint != after.training_fingerprint
    assert before.position["transforms"] != after.position["transforms"]
