"""Adapters are checked by the model's files alone: what they adapt, what they train, and what they cannot do."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.model_facts import read_model_facts
from embedstep.planning.adapters import adapted_shapes, adapter_size, merges
from embedstep.planning.checks import check_request
from embedstep.planning.model_checks import check_model
from embedstep.request.loading import load_request
from embedstep.request.model import Model
from embedstep.step import plan_step
from tests.model_files import write_model

pytest.importorskip("peft")  # whose source says which options there are
Build = Callable[..., dict[str, Any]]
LORA = {"peft_type": "LORA", "r": 4, "target_modules": ["query", "value"]}


@pytest.fixture
def problems_of(request_of: Build, tiny_model: Path) -> Callable[..., list[str]]:
    """Return what is wrong with an adapter; further keyword arguments go into `model`."""

    def ask(peft: Mapping[str, Any], **model: Any) -> list[str]:
        document = request_of(model={"path": str(tiny_model), **model, "peft": peft})
        return [str(problem) for problem in check_model(load_request(json.dumps(document)))]

    return ask


@pytest.mark.parametrize(
    ("peft", "problem"),
    [
        ({"target_modules": ["query", "valeu"]},
         "model.peft.target_modules.1: 'valeu' matches no module with weights; it has LayerNorm, "
         "position_embeddings, token_type_embeddings, word_embeddings, dense, key, query, value; did you mean value?"),
        ({"target_modules": ["attention"]},
         "model.peft.target_modules.0: 'attention' matches no module with weights; it has LayerNorm, "
         "position_embeddings, token_type_embeddings, word_embeddings, dense, key, query, value"),
        ({"target_modules": "query"},
         "model.peft.target_modules: 'query' matches no module as a whole; write [query]"),
        ({"target_modules": "quer"},
         "model.peft.target_modules: 'quer' matches no module as a whole; it has LayerNorm, position_embeddings, "
         "token_type_embeddings, word_embeddings, dense, key, query, value"),
        ({"merge": False, "init_lora_weights": "pissa"},
         "model.peft.merge: is false, and an adapter alone works only with the files of model.path as they are; write "
         "true, or remove model.peft.init_lora_weights: pissa"),
    ],
)  # fmt: skip
def test_what_an_adapter_cannot_do_is_refused(
    problems_of: Callable[..., list[str]], peft: dict[str, Any], problem: str
) -> None:
    assert problems_of({**LORA, **peft}) == [problem]


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ({"layers": {"keep": [1]}, "peft": {**LORA, "merge": False}},
         "model.peft.merge: is false, and an adapter alone works only with the files of model.path as they are; write "
         "true, or remove model.layers"),
        ({"model_kwargs": {"dtype": "bfloat16"}, "peft": {**LORA, "merge": False}},
         "model.peft.merge: is false, and the base, which an adapter alone is loaded with, is stored in float32 and "
         "trained in bfloat16; write model.model_kwargs: {dtype: auto}, or merge: true"),
        ({"model_kwargs": {"quantization_config": {"load_in_4bit": True}}, "peft": {**LORA, "merge": False}},
         "model.peft.merge: is false, and an adapter alone works only with the files of model.path as they are; write "
         "true, or remove model.model_kwargs.quantization_config"),
        ({"model_kwargs": {"quantization_config": {"load_in_4bit": True}}},
         "model.model_kwargs.quantization_config: makes weights that cannot be trained; train an adapter on them: "
         "model.peft"),
        ({"model_kwargs": {"quantization_config": "4bit"}, "peft": LORA},
         "model.model_kwargs.quantization_config: must be options such as {load_in_4bit: true}, not '4bit'"),
    ],
)  # fmt: skip
def test_a_base_that_an_adapter_does_not_go_with_is_refused(
    problems_of: Callable[..., list[str]], model: dict[str, Any], problem: str
) -> None:
    peft = model.pop("peft", {})
    assert problems_of(peft, **model) == [problem]


@pytest.mark.parametrize(
    ("model", "first"),
    [
        ({"static": "org/tokenizer", "dimension": 8}, "static embedding"),
        ({"path": "org/model", "modules": [{"kind": "static_embedding"}]}, "static_embedding"),
        ({"path": "org/model", "modules": ["bow"]}, "bow"),
    ],
)
def test_an_adapter_is_for_a_transformer(request_of: Build, model: dict[str, Any], first: str) -> None:
    request = load_request(json.dumps(request_of(model={**model, "peft": LORA})))
    assert f"model.peft: adapts a transformer, and the model begins with a {first}" in map(str, check_model(request))


def test_a_quantized_base_needs_a_gpu(request_of: Build, tiny_model: Path) -> None:
    model = {"path": str(tiny_model), "model_kwargs": {"quantization_config": {"load_in_4bit": True}}, "peft": LORA}
    with pytest.raises(Exception, match="needs a GPU, and this run computes on the CPU; remove it"):
        plan_step(load_request(json.dumps(request_of(model=model, arguments={"use_cpu": True}))))


def test_a_tied_decoder_would_undo_an_adapter(request_of: Build, tiny_model: Path) -> None:
    document = request_of(model={"path": str(tiny_model), "peft": LORA}, loss="denoising_auto_encoder")
    (problem,) = check_request(load_request(json.dumps(document)))
    assert str(problem) == (
        "model.peft: is undone by a tied decoder, whose weights become those of the model; write "
        "tie_encoder_decoder: false in loss.options"
    )


@pytest.mark.parametrize(
    ("peft", "size"),
    [
        ({}, 4 * 4 * (32 + 32)),
        ({"target_modules": None}, 4 * 4 * (32 + 32)),  # of BERT: query and value
        ({"target_modules": r".*\.0\..*\.query"}, 4 * (32 + 32)),
        ({"target_modules": "all-linear"}, 2 * (4 * 4 * 64 + 2 * 4 * (32 + 64)) + 4 * 64),  # with the pooler
        ({"target_modules": "all-linear", "exclude_modules": ["pooler.dense"]}, 2 * (4 * 4 * 64 + 2 * 4 * 96)),
        ({"use_dora": True}, 4 * (4 * 64 + 32)),
        ({"rank_pattern": {"query": 2}}, 2 * 2 * 64 + 2 * 4 * 64),
        ({"modules_to_save": ["pooler"]}, None),
        ({"bias": "all"}, None),
        ({"peft_type": "LOHA"}, None),
    ],
)
def test_the_values_that_train_are_those_that_peft_adds(
    tiny_model: Path, peft: dict[str, Any], size: int | None
) -> None:
    from peft import PeftModel, get_peft_config
    from transformers import BertModel

    given = {**LORA, **peft}
    section = Model(path=str(tiny_model), peft=given)
    assert adapter_size(section, read_model_facts(tiny_model), adapted_shapes(section, None)) == size
    if size is not None:
        with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
            adapted = PeftModel(BertModel.from_pretrained(tiny_model), get_peft_config({**given}))
        assert sum(each.numel() for each in adapted.parameters() if each.requires_grad) == size


def test_merging_is_the_default() -> None:
    assert merges(Model(path="org/model", peft=LORA))
    assert not merges(Model(path="org/model", peft={**LORA, "merge": False}))


def test_a_model_for_which_peft_names_no_modules_needs_them(tmp_path: Path, request_of: Build) -> None:
    config = {"architectures": ["ModernBertModel"], "model_type": "modernbert", "hidden_size": 8}
    model = write_model(tmp_path / "model", config=config)
    document = request_of(model={"path": str(model), "peft": {"peft_type": "LORA"}})
    assert [str(problem) for problem in check_model(load_request(json.dumps(document)))] == [
        "model.peft.target_modules: is missing: PEFT names no modules for modernbert; write all-linear, or some of "
        "word_embeddings, position_embeddings, dense"
    ]
