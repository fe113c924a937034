import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.errors import OUTCOMES
from embedstep.output.result import (
    Failure,
    StepResult,
    failure_from_json,
    is_complete,
    read_json,
    result_from_json,
    write_json,
)

FULL = StepResult(
    exit_code=0,
    output="/out",
    model="/out/model",
    metrics={"eval_docs_cosine_ndcg@10": 0.5, "train_loss": 1.25},
    request_fingerprint="ab",
    run_id="c" * 32,
    tracking_uri="sqlite:////mlflow.db",
    incomplete_tracking=("metrics: no answer",),
    seconds={"train": 1.5},
    versions={"torch": "2.13.0"},
    reload_cosine=0.999999,
)
FAILED = StepResult(
    exit_code=1,
    output="/out",
    failure=Failure(
        kind="ValueError", message="no", exit_code=1, rank=2, problems=("a: b",),
        traceback=("frame\n", "ValueError: no\n")
    ),
)  # fmt: skip


def through_json(data: Any) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


@pytest.mark.parametrize("result", [FULL, FAILED, StepResult(exit_code=75, output="")], ids=["full", "failed", "least"])
def test_a_result_reads_back_equal(result: StepResult) -> None:
    assert result_from_json(through_json(result.to_json())) == result


def test_a_result_of_0_1_0_is_read_under_current_names() -> None:
    written = through_json(FULL.to_json())
    former = {"skip_reason": "verdict", "weights_sha256": "weights", "embedding_space_id": "space",
              "reload_cosine": "verification", "padding_share": "padding", "stop_reason": "stopped"}  # fmt: skip
    del written["node_rank"]
    for entry in written["ledger"]:
        entry["fate"] = entry.pop("support")
    assert result_from_json({former.get(name, name): value for name, value in written.items()}) == FULL


@pytest.mark.parametrize(
    ("reason", "complete"),
    [
        (None, True),
        ("early_stopping: 2 evaluations without a gain, after 4 of 6 train steps", True),
        ("launch.max_hours 2: stopped after 4 of 6 train steps", False),
    ],
)
def test_only_a_limit_leaves_a_training_incomplete(reason: str | None, complete: bool) -> None:
    assert is_complete(reason) is complete


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(0, "succeeded"), (1, "failed"), (2, "refused"), (3, "cannot_start"), (4, "out_of_memory"), (75, "interrupted")],
)
def test_the_outcome_is_the_code_as_a_word(code: int, outcome: str) -> None:
    assert StepResult(exit_code=code, output="").outcome == outcome
    assert StepResult(exit_code=code, output="").to_json()["outcome"] == outcome


def test_the_contract_has_no_other_code() -> None:
    assert set(OUTCOMES) == {0, 1, 2, 3, 4, 75}


def test_a_result_says_its_format_first() -> None:
    assert list(FULL.to_json())[:2] == ["format", "outcome"]
    assert FULL.to_json()["format"] == "embedstep.result/1"


@pytest.mark.parametrize("found", ["embedstep.result/2", "embedstep.plan/1", None])
def test_a_result_of_another_version_is_refused(found: str | None) -> None:
    with pytest.raises(ValueError, match=f"this result has the format {found!r}, not 'embedstep.result/1'"):
        result_from_json({**FULL.to_json(), "format": found})


@given(
    st.text(),
    st.text(),
    st.none() | st.integers(0, 9),
    st.lists(st.text(), max_size=3),
    st.lists(st.text(), max_size=3),
    st.sampled_from(sorted(OUTCOMES)),
)
def test_a_failure_reads_back_equal(
    kind: str, message: str, rank: int | None, problems: list[str], traceback: list[str], code: int
) -> None:
    failure = Failure(
        kind=kind,
        message=message,
        exit_code=code,
        rank=rank,
        problems=tuple(problems),
        traceback=tuple(traceback),
    )
    assert failure_from_json(through_json(asdict(failure))) == failure


def test_a_written_file_reads_back_and_leaves_no_staging_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"text": "naïve 東京", "number": 0.1})
    assert read_json(tmp_path / "a.json") == {"text": "naïve 東京", "number": 0.1}
    assert (tmp_path / "a.json").read_text(encoding="utf-8").endswith("}\n")
    assert os.listdir(tmp_path) == ["a.json"]  # noqa: PTH208


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with (tmp_path / "a.json").open() as reader:
        write_json(tmp_path / "a.json", {"new": 2})
        assert json.load(reader) == {"old": 1}
    assert read_json(tmp_path / "a.json") == {"new": 2}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"new": value})
    assert read_json(tmp_path / "a.json") == {"old": 1}
