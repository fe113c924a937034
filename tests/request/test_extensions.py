"""Names that lead to a declaration of another package: what is imported of it, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("birdsong")
Ask = Callable[..., list[str]]


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
