"""The names of a model's parameters, from the headers of its files alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.parameters import keep_layers, layer_names, saved_parameters
from tests.model_files import CONFIG, write_model, write_safetensors

WORDS, POSITIONS = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
DENSE = "encoder.layer.0.dense.weight"
INSIDE = {WORDS: 800, POSITIONS: 512, DENSE: 64}


def under(prefix: str, names: dict[str, int]) -> dict[str, int]:
    return {f"{prefix}{name}": count for name, count in names.items()}


def test_parameters_are_named_by_module_and_counted(tmp_path: Path) -> None:
    assert saved_parameters(write_model(tmp_path)) == under("0.model.", INSIDE)


def test_a_module_that_the_library_has_not_as_a_transformer_names_its_own(tmp_path: Path) -> None:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "head", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    folder = write_model(tmp_path, modules=modules)
    (folder / "2_Dense").mkdir()
    tensors = {"linear.weight": ("F32", (4, 8)), "linear.bias": ("F32", (4,)), "steps": ("I64", (1,))}
    write_safetensors(folder / "2_Dense" / "model.safetensors", tensors)
    assert saved_parameters(folder) == {**under("0.model.", INSIDE), "head.linear.weight": 32, "head.linear.bias": 4}


@pytest.mark.parametrize(
    ("config", "saved", "loaded"),
    [
        # The head is not loaded, and a pooler that the files lack is new.
        ({**CONFIG, "architectures": ["BertForMaskedLM"]}, {"bert.a": 8, "cls.b": 8},
         {"a": 8, "pooler.dense.weight": 64, "pooler.dense.bias": 8}),
        ({**CONFIG, "architectures": ["BertForSequenceClassification"]},
         {"bert.a": 8, "bert.pooler.dense.weight": 64, "bert.pooler.dense.bias": 8, "classifier.weight": 16},
         {"a": 8, "pooler.dense.weight": 64, "pooler.dense.bias": 8}),
        ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, {"transformer.h.0.a": 8, "transformer.b": 8},
         {"h.0.a": 8, "b": 8}),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"},
         {"shared.weight": 8, "encoder.a": 8, "decoder.a": 8, "lm_head.weight": 8},
         {"shared.weight": 8, "encoder.a": 8}),
        # The names of the first BERT.
        (CONFIG, {"embeddings.LayerNorm.gamma": 8, "embeddings.LayerNorm.beta": 8},
         {"embeddings.LayerNorm.weight": 8, "embeddings.LayerNorm.bias": 8}),
    ],
)  # fmt: skip
def test_a_transformer_has_the_names_under_which_it_is_loaded(
    tmp_path: Path, config: dict[str, Any], saved: dict[str, int], loaded: dict[str, int]
) -> None:
    tensors = {name: ("F32", (count,)) for name, count in saved.items()}
    folder = write_model(tmp_path, config=config, tensors=tensors, modules=None)
    assert saved_parameters(folder) == under("0.model.", loaded)


def test_parts_of_a_router_are_named_by_route_and_place(tmp_path: Path) -> None:
    """`structure` has the folder of each module, by route."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}]
    write_model(tmp_path / "query_0_Transformer", modules=None)
    (tmp_path / "document_0_StaticEmbedding").mkdir()
    write_safetensors(
        tmp_path / "document_0_StaticEmbedding" / "model.safetensors", {"embedding.weight": ("F32", (100, 8))}
    )
    saved = {
        "types": {
            "query_0_Transformer": "sentence_transformers.models.Transformer.Transformer",
            "document_0_StaticEmbedding": "sentence_transformers.models.StaticEmbedding.StaticEmbedding",
        },
        "structure": {"query": ["query_0_Transformer"], "document": ["document_0_StaticEmbedding"]},
    }
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "router_config.json").write_text(json.dumps(saved))
    assert saved_parameters(tmp_path) == {
        **under("0.sub_modules.query.0.model.", INSIDE), "0.sub_modules.document.0.embedding.weight": 800,
    }  # fmt: skip


def test_weights_that_are_no_safetensors_are_unknown(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert saved_parameters(folder) == {}


def test_kept_layers_have_new_numbers() -> None:
    names = ["encoder.layer.0.a", "encoder.layer.1.a", "encoder.layer.2.a", "encoder.layer.2.b", "pooler.a"]
    parameters = dict.fromkeys(names, 8)
    assert list(keep_layers(parameters, [0, 2])) == [
        "encoder.layer.0.a", "encoder.layer.1.a", "encoder.layer.1.b", "pooler.a",
    ]  # fmt: skip
    assert layer_names(parameters) == {0: {".a"}, 1: {".a"}, 2: {".a", ".b"}}
    assert layer_names({"0.model.wte.weight": 8, f"0.model.{DENSE}": 8}) == {0: {".dense.weight"}}
