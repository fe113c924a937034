"""What is trained, what is measured and what the saved model does are the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from embedstep.data.model_facts import read_model_facts
from embedstep.output.result import StepResult
from embedstep.promotion.scoring import score_models
from embedstep.request.loading import load_request
from tests.conftest import pair_rows

Train = Callable[..., StepResult]
Build = Callable[..., dict[str, Any]]

Q, P = "query: ", "passage: "
E5 = {"query": Q, "document": P}
COLUMNS = {"anchor": "question", "positive": "answer"}


def weights(result: StepResult) -> bytes:
    return next(Path(str(result.model)).rglob("model.safetensors")).read_bytes()


@pytest.fixture
def trained(train_here: Train, tiny_model: Path, tmp_path: Path) -> Callable[..., StepResult]:
    """Train on rows with the texts prefixed by `query` and `document`, from a model with `own` prompts."""

    def train(name: str, *, query: str = "", document: str = "", own: Any = None, **sections: Any) -> StepResult:
        model = tmp_path / f"{name}-base"
        shutil.copytree(tiny_model, model)
        if own:
            settings = model / "config_sentence_transformers.json"
            settings.write_text(json.dumps({**json.loads(settings.read_text()), "prompts": own}))
        if (pooling := sections.pop("pooling", None)) is not None:
            (file,) = model.glob("1_Pooling/config.json")
            file.write_text(json.dumps({**json.loads(file.read_text()), **pooling}))
        data = {}
        for split, count, start in (("train", 24, 0), ("eval", 16, 500)):
            rows = [
                {"question": query + row["anchor"], "answer": document + row["positive"]}
                for row in pair_rows(count, start)
            ]
            file = tmp_path / f"{name}-{split}.jsonl"
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
            data[split] = {"docs": {"path": str(file), "columns": COLUMNS}}
        for split, datasets in sections.pop("more", {}).items():
            data[split] |= datasets
        losses = dict.fromkeys(data["train"], "multiple_negatives_ranking")
        request = {
            "model": {"path": str(model), **sections.pop("model", {})},
            "data": data,
            "loss": losses,
            "evaluators": [{"kind": "information_retrieval", "name": "docs", "dataset": "docs"}],
            "tracking": {"kind": "none"},
            "arguments": {
                "num_train_epochs": 2, "learning_rate": 1e-2, "save_strategy": "no", "eval_strategy": "epoch",
                **sections.pop("arguments", {}),
            },
        }  # fmt: skip
        request |= sections
        (tmp_path / f"{name}.json").write_text(json.dumps(request))
        result = train_here(request, name)
        assert result.exit_code == 0, result.failure
        return result

    return train


def test_the_model_is_trained_and_measured_with_the_prompts_that_it_is_saved_with(trained: Any) -> None:
    """The weights and metrics are those of rows that begin with the prompts, to the bit."""
    found = trained("prompts", model={"prompts": E5})
    expected = trained("prefixed", query=Q, document=P)
    assert weights(found) == weights(expected)
    assert found.metrics["eval_docs_cosine_ndcg@10"] == expected.metrics["eval_docs_cosine_ndcg@10"]
    assert found.reload_cosine == pytest.approx(1, abs=1e-6)
    saved, plain = (SentenceTransformer(str(result.model), device="cpu") for result in (found, expected))
    assert saved.prompts == E5
    assert saved.default_prompt_name is None
    texts = ["open file 1", "how to close a socket"]
    for encode, prompt in ((saved.encode_query, Q), (saved.encode_document, P)):
        np.testing.assert_array_equal(encode(texts), plain.encode([prompt + text for text in texts]))
    assert plain.prompts == {"query": "", "document": ""}


@pytest.mark.slow
def test_the_gate_measures_as_the_training_also_where_datasets_have_other_prompts(
    trained: Any, tiny_model: Path, tmp_path: Path
) -> None:
    more = {"path": str(tmp_path / "more-train.jsonl"), "columns": COLUMNS}
    held = {"path": str(tmp_path / "more-eval.jsonl"), "columns": COLUMNS}
    trained("more")
    evaluators = [
        {"kind": kind, "name": f"{name}-{kind}", "dataset": name}
        for name in ("docs", "more")
        for kind in ("information_retrieval", "translation")
    ]
    found = trained(
        "several",
        more={"train": {"more": more}, "eval": {"more": held}},
        evaluators=evaluators,
        arguments={"prompts": {"docs": {"anchor": Q}, "more": {"question": "ask: ", "answer": P}}},
    )
    assert SentenceTransformer(str(found.model), device="cpu").prompts == E5
    request = load_request((tmp_path / "several.json").read_text())
    scored = score_models(request, {"new": str(found.model), "base": None}).models
    for name, value in scored["new"].metrics.items():
        assert value == pytest.approx(found.metrics[f"eval_{name}"], abs=1e-9), name
    base = SentenceTransformer(str(tiny_model), device="cpu")
    base.prompts = {"query": "ask: ", "document": P}
    rows = [(row["anchor"], row["positive"]) for row in pair_rows(16, 500)]
    questions, answers = (dict(enumerate(texts)) for texts in zip(*rows, strict=True))
    relevant = {number: {number} for number in questions}
    (expected,) = (
        value
        for name, value in InformationRetrievalEvaluator(questions, answers, relevant)(base).items()
        if name == "cosine_ndcg@10"
    )
    assert scored["base"].metrics["more-information_retrieval_cosine_ndcg@10"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_one_prompt_for_all_texts_is_the_default_of_the_saved_model(trained: Any) -> None:
    found = trained("all", arguments={"prompts": "all: "})
    saved = SentenceTransformer(str(found.model), device="cpu")
    texts = ["open file 1", "how to close a socket"]
    for encode in (saved.encode, saved.encode_query, saved.encode_document):
        np.testing.assert_array_equal(encode(texts), saved.encode(["all: " + text for text in texts], prompt=""))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sections",
    [
        {"arguments": {"prompts": {"question": Q, "answer": P}}},
        {"arguments": {"prompts": {"docs": {"anchor": Q}}}, "model": {"prompts": {"passage": P}}},
        {"own": E5},
        {"own": {"query": Q, "passage": P}},
    ],
    ids=["by source name", "by dataset and side", "of the model", "passage"],
)
def test_prompts_from_any_place_are_the_same(trained: Any, sections: dict[str, Any]) -> None:
    found, expected = trained("found", **sections), trained("expected", model={"prompts": E5})
    assert weights(found) == weights(expected)
    assert found.metrics["eval_docs_cosine_ndcg@10"] == expected.metrics["eval_docs_cosine_ndcg@10"]
    prompts = SentenceTransformer(str(found.model), device="cpu").prompts
    assert {side: prompts[side] for side in E5} == E5


@pytest.mark.slow
def test_prompts_that_are_not_used_change_nothing_and_are_not_saved(trained: Any) -> None:
    found = trained("off", own={**E5, "sts": "s: "}, model={"use_prompts": False})
    expected = trained("plain")
    assert weights(found) == weights(expected)
    assert found.metrics["eval_docs_cosine_ndcg@10"] == expected.metrics["eval_docs_cosine_ndcg@10"]
    assert SentenceTransformer(str(found.model), device="cpu").prompts == {"query": "", "document": "", "sts": "s: "}


@pytest.mark.slow
def test_pooling_without_the_prompt_trains_and_embeds_without_it(trained: Any) -> None:
    found = trained("instructor", model={"prompts": E5}, pooling={"include_prompt": False})
    saved = SentenceTransformer(str(found.model), device="cpu")
    assert saved[1].include_prompt is False
    assert weights(found) != weights(trained("with", model={"prompts": E5}))
    texts = ["open file 1", "how to close a socket"]
    np.testing.assert_array_equal(saved.encode_query(texts), saved.encode(texts, prompt=Q))
    assert np.abs(saved.encode_query(texts) - saved.encode([Q + text for text in texts])).max() > 1e-4


@pytest.mark.slow
def test_the_query_route_is_trained_by_source_names(trained: Any, tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers.base.modules import Router

    query, document = (SentenceTransformer(str(tiny_model), device="cpu") for _ in range(2))
    router = Router.for_query_document(list(query.children()), list(document.children()))
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path / "router"))
    assert read_model_facts(tmp_path / "router").routes == ("query", "document")
    found = [
        trained(name, model={"path": str(tmp_path / "router")}, arguments={"router_mapping": routes})
        for name, routes in (
            ("sources", {"question": "query", "answer": "document"}),
            ("roles", {"anchor": "query", "positive": "document"}),
        )
    ]
    models = [SentenceTransformer(str(result.model), device="cpu") for result in found]
    states = [model.state_dict() for model in models]
    assert all((states[0][name] == states[1][name]).all() for name in states[0])
    before = SentenceTransformer(str(tmp_path / "router"), device="cpu").state_dict()
    moved = {name.split(".")[2] for name, values in states[0].items() if not (values == before[name]).all()}
    assert moved == {"query", "document"}
