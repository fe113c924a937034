"""What a person, or a program, reads of the result of a step."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from embedstep.cli.results import show_result
from embedstep.output.result import Change, Failure, StepResult, is_score
from embedstep.runtime.log import LOG_VARIABLE

METRIC = "eval_docs_cosine_ndcg@10"
BETTER = StepResult(
    exit_code=0,
    output="/out",
    model="/out/model",
    metrics={METRIC: 0.6, "eval_loss": 0.5},
    changes={METRIC: Change(before=0.474, after=0.6, low=0.1, high=0.15), "eval_sts_spearman_cosine": Change(
        before=0.5, after=0.25
    )},
)  # fmt: skip
WORSE = replace(BETTER, changes={METRIC: Change(before=0.565, after=0.126, low=-0.5, high=-0.4, is_worse=True)})


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("eval_loss", True),
        ("eval_docs_cosine_ndcg@10", True),
        ("eval_runtime", False),
        ("eval_docs_runtime", False),
        ("eval_samples_per_second", False),
        ("train_loss", False),
        ("loss", False),
    ],
)
def test_a_score_says_how_good_the_model_is(name: str, score: bool) -> None:
    assert is_score(name) == score


def test_a_success_is_shown_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"eval_docs_cosine_ndcg@10": 0.51239, "eval_runtime": 3.0, "train_loss": 1.0}
    result = StepResult(
        exit_code=0, output="/out", model="/out/model", metrics=metrics, seconds={"total": 12.34}, run_id="abc",
        tracking_uri="sqlite:////m.db", incomplete_tracking=("metrics: no answer",),
    )  # fmt: skip
    show_result(result, "request.yaml")
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "result",
        "  eval_docs_cosine_ndcg@10  0.5124",
        "  model                     /out/model",
        "  MLflow run                abc",
        "  MLflow page               mlflow ui --backend-store-uri sqlite:////m.db",
        "  seconds                   12.3",
        "not recorded: metrics: no answer",
    ]


def test_a_password_in_the_tracker_s_address_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(
        StepResult(exit_code=0, output="/out", run_id="abc", tracking_uri="http://user:planted@host"), "request.yaml"
    )
    assert "planted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failure", "lines"),
    [
        (
            Failure(kind="signal", message="rank 1 was killed by SIGKILL", exit_code=1),
            ["request.yaml: 1 problem", "  rank 1 was killed by SIGKILL",
             "failed, exit code 1; details in /out/error.json"],
        ),
        (
            Failure(kind="ValueError", message="no", exit_code=1, rank=3),
            ["request.yaml: 1 problem", "  rank 3: no", "failed, exit code 1; details in /out/error.json"],
        ),
        (
            Failure(kind="InvalidRequestError", message="x", exit_code=2, problems=("a: b", "c: d")),
            ["request.yaml: 2 problems", "  a: b", "  c: d", "refused, exit code 2; details in /out/error.json"],
        ),
        (
            Failure(kind="CannotStartError", message="no disk", exit_code=3),
            ["request.yaml: 1 problem", "  no disk", "cannot start, exit code 3; details in /out/error.json"],
        ),
    ],
)  # fmt: skip
def test_a_failure_is_shown_on_standard_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, failure: Failure, lines: list[str]
) -> None:
    (tmp_path / "error.json").touch()
    result = StepResult(exit_code=failure.exit_code, output=str(tmp_path), failure=failure)
    show_result(result, "request.yaml")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.replace(str(tmp_path), "/out").splitlines() == lines
    # One that a cluster has sent leaves no such file here.
    (tmp_path / "error.json").unlink()
    show_result(result, "request.yaml")
    assert capsys.readouterr().err.splitlines() == [*lines[:-1], lines[-1].partition(";")[0]]


def test_the_scores_of_the_base_stand_next_to_those_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(BETTER)
    assert capsys.readouterr().out.splitlines()[:5] == [
        "metrics",
        "  metric               before   after   change  95 % interval",
        "  docs_cosine_ndcg@10  0.4740  0.6000  +0.1260  +0.1000 to +0.1500",
        "  sts_spearman_cosine  0.5000  0.2500  -0.2500",
        "result",
    ]


def test_a_model_that_is_worse_than_its_base_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    show_result(WORSE)
    assert capsys.readouterr().out.splitlines()[0] == "worse than the base: docs_cosine_ndcg@10 0.1260, base 0.5650"


def test_a_quiet_run_prints_the_folder_of_the_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG_VARIABLE, "quiet")
    show_result(replace(WORSE, incomplete_tracking=("no answer",)))
    out, err = capsys.readouterr()
    assert out == "/out/model\n"
    assert err.splitlines() == [
        "worse than the base: docs_cosine_ndcg@10 0.1260, base 0.5650",
        "not recorded: no answer",
    ]


def test_a_program_reads_the_result_and_the_problems_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG_VARIABLE, "json")
    show_result(BETTER)
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert (found["model"], found["changes"][METRIC]["before"], "ledger" in found) == ("/out/model", 0.474, False)
    failure = Failure(kind="InvalidRequestError", message="x", exit_code=2, problems=("a: b",))
    show_result(StepResult(exit_code=2, output="/nowhere", failure=failure), "request.yaml")
    out, err = capsys.readouterr()
    assert json.loads(out)["failure"]["problems"] == ["a: b"]
    lines = [json.loads(line) for line in err.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("error", "request.yaml: 1 problem"),
        ("error", "a: b"),
        ("error", "refused, exit code 2"),
    ]


@pytest.mark.parametrize(
    ("world_size", "message", "line"),
    [
        (1, "no", "no"),
        (2, "no", "rank 0: no"),
        (2, "rank 0 was killed by SIGKILL", "rank 0 was killed by SIGKILL"),
        (None, "no", "rank 0: no"),
    ],
)
def test_a_failure_names_its_rank_where_there_are_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, world_size: int | None, message: str, line: str
) -> None:
    if world_size is not None:
        (tmp_path / "plan.json").write_text(json.dumps({"world_size": world_size}))
    failure = Failure(kind="ValueError", message=message, exit_code=1, rank=0)
    show_result(StepResult(exit_code=1, output=str(tmp_path), failure=failure), "request.yaml")
    assert capsys.readouterr().err == f"request.yaml: 1 problem\n  {line}\nfailed, exit code 1\n"
