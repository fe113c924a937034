"""Models that are built of modules: what was announced of them, trained, saved, loaded again and resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedstep.data.parameters import saved_parameters
from embedstep.output.result import StepResult
from embedstep.planning.plan import Plan
from embedstep.request.loading import load_request
from embedstep.request.model import Model
from embedstep.step import plan_step
from embedstep.worker.models import build_model

Build = Callable[..., dict[str, Any]]
Train = Callable[..., StepResult]
WORDS = ["open", "file", "read", "cache", "how", "to", "a", "number"]
ROUTED = {"router_mapping": {"anchor": "query", "positive": "document"}}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of eight words and their vectors."""
    file = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    file.write_text("".join(f"{word} {place} 0.5 -0.25\n" for place, word in enumerate(WORDS)))
    return file


@pytest.fixture(scope="module")
def bare(tiny_model: Path) -> Path:
    """The transformer of the tiny model, as transformers saved it."""
    return tiny_model.parent / "bert"


def kind(name: str, **options: Any) -> dict[str, Any]:
    return {"kind": name, "options": options}


def sections_of(name: str, bare: Path, saved: Path, vectors: Path) -> dict[str, Any]:
    """The section of a model by the name of its row, and the arguments that go with it."""
    models: dict[str, Any] = {
        "pooling of two modes": {"path": str(bare), "pooling": ["cls", "max"]},
        "smaller and frozen": {"path": str(saved), "layers": {"keep": [1]}, "freeze": ["embeddings"]},
        "dense head": {
            "path": str(saved),
            "modules": [
                "transformer", kind("Pooling", pooling_mode="lasttoken"),
                kind("dense", out_features=8, activation_function=None, use_residual=True), "layer_norm",
                kind("dropout", dropout=0.1), "normalize",
            ],
        },
        "all layers, weighted words": {
            "path": str(bare),
            "modules": [
                "transformer", kind("weighted_layer_pooling", layer_start=1),
                kind("word_weights", word_weights={"file": 2, "open": 0.5}),
                kind("dense", out_features=12, module_input_name="token_embeddings"),
                kind("pooling", pooling_mode="weightedmean"),
            ],
        },
        "words": {
            "modules": [
                kind("word_embeddings", path=str(vectors), update_embeddings=True),
                kind("lstm", hidden_dim=4, num_layers=2), kind("cnn", out_channels=3, kernel_sizes=[1, 3]), "pooling",
            ],
        },
        "bag of words": {
            "modules": [kind("bow", vocab=WORDS, word_weights={"file": 2}), kind("dense", out_features=6)]
        },
        "router": {
            "path": str(bare),
            "modules": [
                {"kind": "router", "routes": {"query": ["static_embedding"], "document": ["transformer", "pooling"]}},
                kind("dense", out_features=8),
            ],
        },
    }  # fmt: skip
    return {"model": models[name], "arguments": ROUTED if name == "router" else {}}


TRAINED = ["dense head", "bag of words"]
TRAINED_SLOWLY = ["smaller and frozen", "all layers, weighted words", "words", "router"]


def test_a_saved_static_embedding_stands_next_to_a_smaller_transformer(
    request_of: Build, tiny_model: Path, minilm: Path, tmp_path: Path
) -> None:
    static = Model.model_validate({"static": str(minilm / "tokenizer.json"), "dimension": 32})
    saved = build_model(static, fetched=None, device="cpu")
    saved.save_pretrained(str(tmp_path / "static"))
    routes = {
        "query": [kind("static_embedding", path=str(tmp_path / "static"))],
        "document": ["transformer", "pooling"],
    }
    section = {"path": str(tiny_model), "modules": [{"kind": "router", "routes": routes}], "layers": {"keep": [1]}}
    request = load_request(json.dumps(request_of(model=section, arguments=ROUTED)))
    announced, built = plan_step(request).model, build_model(request.model, fetched=None, device="cpu")
    assert announced is not None
    assert announced.parameters == sum(each.numel() for each in built.parameters())
    query, document = (built[0].sub_modules[name][0] for name in ("query", "document"))
    assert torch.equal(query.embedding.weight, saved[0].embedding.weight)
    assert document.config.num_hidden_layers == 1


@pytest.mark.parametrize("name", ["pooling of two modes", *TRAINED, *TRAINED_SLOWLY])
def test_a_model_is_built_as_announced(
    name: str, request_of: Build, bare: Path, tiny_model: Path, vectors: Path, tmp_path: Path
) -> None:
    request = load_request(json.dumps(request_of(**sections_of(name, bare, tiny_model, vectors))))
    plan = plan_step(request)
    built = build_model(request.model, fetched=None, device="cpu").eval()
    announced = plan.model
    assert announced is not None
    assert announced.dimension == built.get_embedding_dimension() == built.encode("open a file").shape[0]
    parameters = [(each.numel(), each.requires_grad) for each in built.parameters()]
    assert sum(count for count, _ in parameters) == (announced.parameters or _counted(plan, built))
    if announced.trainable is not None:
        assert announced.trainable == sum(count for count, trains in parameters if trains)
    built.save_pretrained(str(tmp_path / "saved"))
    assert dict(saved_parameters(tmp_path / "saved")) == {name: each.numel() for name, each in built.named_parameters()}
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert torch.equal(*(torch.from_numpy(model.encode(["open a file", "b"])) for model in (built, again)))


def _counted(plan: Plan, built: SentenceTransformer) -> int:
    """Words of a file are counted by the training alone."""
    assert type(built[0]).__name__ == "WordEmbeddings"
    return sum(each.numel() for each in built.parameters())


def test_a_model_of_other_modules_keeps_prompts_and_similarity(tiny_model: Path, tmp_path: Path) -> None:
    saved = SentenceTransformer(str(tiny_model), device="cpu", similarity_fn_name="dot")
    saved.prompts, saved.default_prompt_name = {"query": "q: ", "document": "d: "}, "document"
    saved.save_pretrained(str(tmp_path / "prompted"))
    section = {"path": str(tmp_path / "prompted"), "modules": ["transformer", "pooling", "normalize"]}
    model = Model.model_validate({**section, "prompts": {"query": "Q: "}})
    built = build_model(model, fetched=None, device="cpu")
    assert {name: text for name, text in built.prompts.items() if text} == {"query": "Q: ", "document": "d: "}
    assert (built.default_prompt_name, built.similarity_fn_name) == ("document", "dot")


def test_modules_follow_the_precision_of_their_transformer(tiny_model: Path, tmp_path: Path) -> None:
    SentenceTransformer(str(tiny_model), device="cpu").bfloat16().save_pretrained(str(tmp_path / "bf16"))
    modules = ["transformer", "pooling", kind("dense", out_features=8)]
    for precision, expected in (("auto", torch.bfloat16), ("float32", torch.float32), ("float64", torch.float64)):
        section = {"path": str(tmp_path / "bf16"), "modules": modules, "model_kwargs": {"dtype": precision}}
        built = build_model(Model.model_validate(section), fetched=None, device="cpu")
        assert {each.dtype for each in built.parameters()} == {expected}
        assert built.encode("open", convert_to_tensor=True).dtype == expected


@pytest.mark.parametrize("name", [*TRAINED, *(pytest.param(name, marks=pytest.mark.slow) for name in TRAINED_SLOWLY)])
def test_a_built_model_trains_and_is_loaded_again(
    name: str, train_here: Train, request_of: Build, bare: Path, tiny_model: Path, vectors: Path
) -> None:
    sections = sections_of(name, bare, tiny_model, vectors)
    result = train_here(request_of(**{**sections, "arguments": {**sections["arguments"], "max_steps": 2}}))
    assert result.exit_code == 0, result.failure
    assert result.reload_cosine is not None
    assert result.reload_cosine > 0.9999
    if name == "router":
        routes = SentenceTransformer(result.model, device="cpu")[0].sub_modules
        begun = SentenceTransformer(str(tiny_model), device="cpu")[0].auto_model
        words, layer = begun.embeddings.word_embeddings.weight, begun.encoder.layer[1].output.dense.weight
        assert routes["query"][0].embedding.weight.ne(words).any()
        assert routes["document"][0].auto_model.encoder.layer[1].output.dense.weight.ne(layer).any()


@pytest.mark.slow
def test_a_smaller_model_of_frozen_parts_resumes_to_the_bit(
    train_here: Train, request_of: Build, tiny_model: Path
) -> None:
    model = {
        "path": str(tiny_model),
        "modules": ["transformer", "pooling", kind("dense", out_features=8)],
        "layers": {"keep": [1]},
        "freeze": [r"^model\.0\.model\.embeddings\.", r"\.bias$"],
    }
    arguments = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1}
    whole = train_here(request_of(model=model, arguments=arguments), "whole")
    checkpoint = Path(whole.output) / "checkpoints" / "checkpoint-1"
    resumed = train_here(
        request_of(model=model, arguments={**arguments, "resume_from_checkpoint": str(checkpoint)}), "resumed"
    )
    assert (whole.exit_code, resumed.exit_code) == (0, 0), (whole.failure, resumed.failure)
    assert resumed.weights_sha256 == whole.weights_sha256
    trained = dict(SentenceTransformer(whole.model, device="cpu").named_parameters())
    begun = dict(SentenceTransformer(str(tiny_model), device="cpu").named_parameters())
    assert (
        trained["0.model.encoder.layer.0.output.dense.weight"]
        .ne(begun["0.model.encoder.layer.1.output.dense.weight"])
        .any()
    )
    for frozen, before in (
        ("0.model.embeddings.word_embeddings.weight", "0.model.embeddings.word_embeddings.weight"),
        ("0.model.encoder.layer.0.output.dense.bias", "0.model.encoder.layer.1.output.dense.bias"),
    ):
        assert torch.equal(trained[frozen], begun[before])
