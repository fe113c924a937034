"""The termination message of a container: what fits, and the first cause that is read from it."""

import json
from pathlib import Path

import pytest

from embedstep.launch.termination import read_cause, write_termination_message
from embedstep.output.result import Failure, StepResult, result_from_json


def test_last_words_fit_where_kubernetes_keeps_them(tmp_path: Path) -> None:
    """It cuts them at 4,096 bytes, after which they are no JSON."""
    file = tmp_path / "termination-log"
    file.touch()
    problems = tuple(f"data.train.docs: 文字列 {number} " + "ほげ" * 400 for number in range(9))
    failure = Failure(kind="InvalidRequestError", message="、".join(problems), exit_code=2, problems=problems)
    write_termination_message(
        StepResult(exit_code=2, output="out", failure=failure, incomplete_tracking=("x" * 9000,)), file
    )
    assert len(file.read_bytes()) <= 4096
    words = json.loads(file.read_text())
    assert words["failure"]["problems"][0].startswith("data.train.docs: 文字列 0 ")
    few = StepResult(exit_code=0, output="out", metrics={"eval_loss": 0.5})
    write_termination_message(few, file)
    assert result_from_json(json.loads(file.read_text())) == few


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (Failure(kind="signal", message="rank 1 was killed by SIGKILL", exit_code=1), "rank 1 was killed by SIGKILL"),
        (Failure(kind="RuntimeError", message="first\nsecond", exit_code=1), "first"),
        (Failure(kind="InvalidRequestError", message="all", exit_code=2, problems=("one: is 1", "two: is 2")),
         "one: is 1; two: is 2"),
        (None, ""),
    ],
)  # fmt: skip
def test_the_first_cause_is_read_from_last_words(tmp_path: Path, failure: Failure | None, cause: str) -> None:
    file = tmp_path / "termination-log"
    file.touch()
    write_termination_message(
        StepResult(exit_code=failure.exit_code if failure else 0, output="out", failure=failure), file
    )
    assert read_cause(file.read_text()) == cause


@pytest.mark.parametrize("words", ["", "killed", "[]", "{}"])
def test_other_words_have_no_cause(words: str) -> None:
    assert read_cause(words) == ""
