"""A loss and an evaluator of another package: declared without torch, checked as ours, and trained with."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.output.result import StepResult
from embedstep.planning.plan import Plan

Ask = Callable[..., list[str]]
COLUMNS = {"anchor": "anchor", "positive": "positive"}


@pytest.fixture
def held_out(data_folder: Path) -> dict[str, Any]:
    return {"docs": {"path": str(data_folder / "eval.jsonl"), "columns": {**COLUMNS, "label": "score"}}}


@pytest.mark.parametrize("name", ["margin_cosine", "birdsong:margin_cosine"])
def test_a_declared_loss_and_evaluator_train(
    name: str,
    train_here: Callable[..., StepResult],
    request_of: Callable[..., dict[str, Any]],
    scored: Callable[..., dict[str, Any]],
    held_out: dict[str, Any],
) -> None:
    evaluator = {"kind": "mean_cosine", "name": "near", "dataset": "docs", "options": {"batch_size": 8}}
    asked = request_of(
        loss={"kind": name, "options": {"margin": 0.05}},
        data=scored(eval=held_out),
        evaluators=[evaluator],
        arguments={
            "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2,
            "load_best_model_at_end": True, "metric_for_best_model": "near_mean",
        },
    )  # fmt: skip
    result = train_here(asked)
    assert result.exit_code == 0, result.failure
    assert {"eval_near_mean", "eval_near_least", "eval_loss"} <= result.metrics.keys()


def test_a_declared_loss_works_inside_a_wrapper(
    train_here: Callable[..., StepResult],
    request_of: Callable[..., dict[str, Any]],
    scored: Callable[..., dict[str, Any]],
) -> None:
    loss = {"kind": "matryoshka", "options": {"matryoshka_dims": [32, 16]}, "loss": "margin_cosine"}
    assert train_here(request_of(loss=loss, data=scored(), arguments={"max_steps": 1})).exit_code == 0


def test_its_columns_and_options_are_checked(problems_of: Ask, scored: Callable[..., dict[str, Any]]) -> None:
    assert problems_of(loss="margin_cosine") == [
        "data.train.docs.columns.label: is missing: margin_cosine needs a label with a score from 0 to 1"
    ]
    assert problems_of(loss={"kind": "margin_cosine", "options": {"margn": 1}}, data=scored()) == [
        "loss.options.margn: is no option of margin_cosine; it has margin; did you mean margin?"
    ]
    evaluators = [{"kind": "mean_cosine", "name": "near", "dataset": "docs", "options": {"batch_size": 0}}]
    assert "evaluators.0.options.batch_size: must be an integer of 1 or more, not 0" in problems_of(
        loss="margin_cosine", data=scored(), evaluators=evaluators
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("margin_cosin", "no loss is named 'margin_cosin'; did you mean margin_cosine?"),
        ("birdsung:margin", "birdsung cannot be imported: ModuleNotFoundError: No module named 'birdsung'"),
        ("birdsong:nothing", "birdsong has no 'nothing'"),
        ("lost", "birdsong has no 'lost'"),
        ("birdsong:mean_cosine", "birdsong:mean_cosine is of type EvaluatorKind; it must be an embedstep.LossKind"),
        ("birdsong:not_a_declaration", "birdsong:not_a_declaration is of type str; it must be an embedstep.LossKind"),
    ],
)
def test_a_name_that_leads_to_no_declaration_is_refused(problems_of: Ask, name: str, message: str) -> None:
    assert problems_of(loss=name) == [f"loss.kind: {message}"]
    evaluators = [{"kind": name.replace("cosin", "cosinn"), "name": "x", "dataset": "docs"}]
    assert any(line.startswith("evaluators.0.kind: ") for line in problems_of(evaluators=evaluators))


def test_code_that_fails_when_it_is_imported_is_refused(
    problems_of: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_song.py").write_text("raise RuntimeError('no birds')")
    monkeypatch.syspath_prepend(tmp_path)
    assert problems_of(loss="broken_song:x") == ["loss.kind: broken_song cannot be imported: RuntimeError: no birds"]


def test_a_class_that_is_not_there_is_refused_before_the_run(
    problems_of: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declaration = (
        "from embedstep import LossKind, Takes\nx = LossKind(name='x', class_name='birdsong.gone:X', takes=())"
    )
    (tmp_path / "gone_song.py").write_text(declaration)
    monkeypatch.syspath_prepend(tmp_path)
    assert "loss.kind: birdsong.gone cannot be imported: there is no such module" in problems_of(loss="gone_song:x")


def test_a_plan_imports_the_declaration_and_not_torch(
    request_of: Callable[..., dict[str, Any]], scored: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request_of(loss="margin_cosine", data=scored())))
    code = (
        "import sys\n"
        "from embedstep.request.loading import read_request\n"
        "from embedstep.step import plan_step\n"
        "plan_step(read_request(sys.argv[1]))\n"
        "assert 'birdsong' in sys.modules\n"
        "assert not {'torch', 'birdsong.heavy', 'sentence_transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, timeout=60)


def test_nothing_is_imported_that_no_request_names(request_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(request_of()))
    code = (
        "import sys\n"
        "from embedstep.request.loading import read_request\n"
        "from embedstep.step import plan_step\n"
        "plan_step(read_request(sys.argv[1]))\n"
        "assert 'birdsong' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, timeout=60)


def test_other_code_is_another_training(
    plan_of: Callable[..., Plan], scored: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declaration = (
        "from embedstep import Label, LossKind, Takes\n"
        "label = Label(words='', kinds=('integer', 'number'))\n"
        "x = LossKind(name='x', class_name='edited_heavy:X', takes=(Takes(least=2, most=2, label=label),))"
    )
    (tmp_path / "edited_song.py").write_text(declaration)
    monkeypatch.syspath_prepend(tmp_path)
    prints = []
    for text in ("one = 1", "one = 1", "two = 2"):
        (tmp_path / "edited_heavy.py").write_text(text)
        prints.append(plan_of(loss="edited_song:x", data=scored()).training_fingerprint)
    assert prints[0] == prints[1] != prints[2]
