"""A checkpoint is resumed from only with rows in the order that it came to."""

from pathlib import Path
from typing import Any

import pytest

from embedstep.output.position import POSITION_FILE, position_problems, write_position

POSITION: dict[str, Any] = {"batch_sampler": "batch_sampler", "seed": 42, "rows": [["docs", "a" * 64]]}


def problems(folder: Path, **changed: Any) -> list[str]:
    return [problem.message for problem in position_problems(folder, {**POSITION, **changed})]


def test_the_same_order_has_no_problem(tmp_path: Path) -> None:
    write_position(tmp_path, POSITION)
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"seed": 43}, ("42", "43")), ({"rows": [["docs", "b" * 64]]}, ("docs aaaaaaaaaaaa", "docs bbbbbbbbbbbb"))],
)
def test_another_order_is_refused_with_both_values(
    changed: dict[str, Any], words: tuple[str, str], tmp_path: Path
) -> None:
    write_position(tmp_path, POSITION)
    (message,) = problems(tmp_path, **changed)
    assert all(word in message for word in words)


def test_what_follows_from_another_sampler_is_no_problem_of_its_own(tmp_path: Path) -> None:
    write_position(tmp_path, POSITION)
    assert len(problems(tmp_path, batch_sampler="no_duplicates", lengths="b" * 64)) == 1


def test_a_checkpoint_of_another_program_says_nothing_of_its_order(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


def test_a_position_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / POSITION_FILE).write_text("{")
    assert len(problems(tmp_path)) == 1
