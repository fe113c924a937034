"""A module of another package: declared without torch, checked with the library's own, trained, and loaded again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from embedstep.output.result import StepResult
from embedstep.planning.plan import Plan

pytestmark = pytest.mark.usefixtures("birdsong")
Ask = Callable[..., list[str]]


def model_of(path: Path, *modules: Any, **more: Any) -> dict[str, Any]:
    return {"path": str(path), "trust_remote_code": True, "modules": ["transformer", *modules], **more}


@pytest.mark.parametrize("name", ["scaling", "birdsong:scaling"])
def test_a_declared_module_is_planned(name: str, plan_request: Callable[..., Plan], tiny_model: Path) -> None:
    plain = plan_request(model=model_of(tiny_model, "pooling")).model
    planned = plan_request(model=model_of(tiny_model, "pooling", name, freeze=[r"^model\.0\."])).model
    assert plain is not None
    assert planned is not None
    assert (planned.dimension, planned.parameters, planned.trainable) == (32, (plain.parameters or 0) + 32, 32)


def test_it_trains_and_is_loaded_again(
    train_here: Callable[..., StepResult], request_of: Callable[..., dict[str, Any]], tiny_model: Path
) -> None:
    scaling = {"kind": "scaling", "options": {"start": 0.5}}
    result = train_here(request_of(model=model_of(tiny_model, "pooling", scaling), arguments={"max_steps": 2}))
    assert result.exit_code == 0, result.failure
    saved = SentenceTransformer(result.model, device="cpu", trust_remote_code=True)
    assert [type(module).__name__ for module in saved] == ["Transformer", "Pooling", "Scaling"]
    assert 0 < float((saved[2].scale.detach() - 0.5).abs().max()) < 0.1


def test_it_is_checked_as_the_others(problems_of: Ask, tiny_model: Path) -> None:
    assert problems_of(model=model_of(tiny_model, {"kind": "scaling", "options": {"strat": 1}}, "pooling")) == [
        "model.modules.1: scaling takes a sentence embedding, and the modules before it give token embeddings",
        "model.modules.1.options.strat: is not an option of scaling; it has dimension, start; did you mean start?",
    ]
    assert problems_of(model=model_of(tiny_model, "pooling", "scaling", trust_remote_code=False)) == [
        "model.trust_remote_code: is false, and sentence-transformers loads a saved model with birdsong.heavy:Scaling "
        "only if it is true"
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("scalin", "no module is named 'scalin'; did you mean scaling?"),
        ("birdsong:nothing", "birdsong has no 'nothing'"),
        ("birdsong:margin_cosine", "birdsong:margin_cosine is of type LossKind; it must be an embedstep.ModuleKind"),
    ],
)
def test_a_name_that_leads_to_no_declaration_is_refused(
    problems_of: Ask, tiny_model: Path, name: str, problem: str
) -> None:
    assert problems_of(model=model_of(tiny_model, "pooling", name)) == [f"model.modules.2.kind: {problem}"]


def test_other_code_is_another_training(
    plan_request: Callable[..., Plan], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(tiny_model, "pooling", "scaling")
    before = plan_request(model=model).training_fingerprint
    monkeypatch.setattr("embedstep.planning.extensions.code_digest", lambda module: "other")
    assert plan_request(model=model).training_fingerprint != before
