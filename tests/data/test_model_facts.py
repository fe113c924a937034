import json
import time
from pathlib import Path
from typing import Any

import pytest

from embedstep.data.model_facts import ModelFacts, read_model_facts
from tests.model_files import CONFIG, MODULES, TENSORS, write_model, write_safetensors

IN_BF16 = {name: ("BF16", shape) for name, (_, shape) in TENSORS.items()}
_DENSE = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}


def test_what_the_files_of_a_saved_model_say(tmp_path: Path) -> None:
    settings = {
        "model_type": "SentenceTransformer", "prompts": {"query": "q: ", "document": ""},
        "default_prompt_name": "query", "similarity_fn_name": "dot",
    }  # fmt: skip
    assert read_model_facts(write_model(tmp_path, settings=settings)) == ModelFacts(
        modules=("Transformer", "Pooling"), architecture="BertModel", dtype="float32", parameters=800 + 512 + 64,
        pooling="mean", model_type="bert", token_dimension=8, max_tokens=64, max_seq_length=32, vocabulary=100,
        tokens=100, dimension=8,
        prompts={"query": "q: "}, default_prompt_name="query", similarity="dot",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("files", "facts"),
    [
        ({"tensors": IN_BF16}, {"dtype": "bfloat16"}),
        ({"tensors": {}, "config": {**CONFIG, "torch_dtype": "float16"}}, {"dtype": "float16", "parameters": None}),
        ({"modules": None}, {"is_bare": True, "pooling": "", "modules": ("Transformer",)}),
        ({"modules": None, "config": {**CONFIG, "architectures": ["Qwen3ForCausalLM"]}}, {"is_decoder": True}),
        ({"config": {**CONFIG, "num_hidden_layers": 3}}, {"layers": 3}),
        ({"modules": None, "config": {**CONFIG, "model_type": "qwen3"}}, {"is_causal": True, "is_decoder": False}),
        ({"modules": None, "config": {**CONFIG, "model_type": "gemma3_text", "use_bidirectional_attention": True}},
         {"is_causal": False}),
        ({"modules": None, "config": {**CONFIG, "model_type": "clip", "projection_dim": 4}},
         {"is_bare": False, "dimension": 4, "token_dimension": None}),
        ({"pooling": {"pooling_mode_cls_token": True, "word_embedding_dimension": 8}}, {"pooling": "cls"}),
        ({"pooling": {"pooling_mode": ["mean", "max"]}}, {"pooling": "mean+max", "dimension": 16}),
        ({"limit": None}, {"max_seq_length": 64}),
        ({"limit": None, "tokenizer": {"model_max_length": 48, "pad_token": "t0"}}, {"max_seq_length": 48}),
        ({"config": {**CONFIG, "model_type": "roberta", "pad_token_id": 1}}, {"max_tokens": 62}),
        ({"tokenizer": {"eos_token": "t1"}}, {"pads": False}),
        ({"vocabulary": 120}, {"tokens": 120, "vocabulary": 100}),
        ({"modules": None, "config": {**CONFIG, "architectures": ["XForSequenceClassification"]}},
         {"family": "CrossEncoder"}),
        ({"settings": {"model_type": "SparseEncoder"}}, {"family": "SparseEncoder"}),
        ({"modules": [*MODULES, _DENSE], "dense": {"out_features": 5}}, {"dimension": 5}),
    ],
)  # fmt: skip
def test_files_that_differ(tmp_path: Path, files: dict[str, Any], facts: dict[str, Any]) -> None:
    dense = files.pop("dense", None) if "dense" in files else None
    folder = write_model(tmp_path / "model", **files)
    if dense is not None:
        (folder / "2_Dense").mkdir()
        (folder / "2_Dense" / "config.json").write_text(json.dumps(dense))
    found = read_model_facts(folder)
    assert {name: getattr(found, name) for name in facts} == facts


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    """10 GB, of which only the header is there: the file is sparse."""
    folder = write_model(tmp_path)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(10 * 10**9)
    began = time.process_time()
    assert read_model_facts(folder).parameters == 1376
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0"])
def test_a_file_that_was_cut_off_is_reported(tmp_path: Path, content: bytes) -> None:
    folder = write_model(tmp_path)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="is not a safetensors file, or was cut off"):
        read_model_facts(folder)


def test_the_real_library_reads_the_headers_that_tests_write(tmp_path: Path) -> None:
    from safetensors import safe_open

    write_safetensors(tmp_path / "a.safetensors", IN_BF16)
    with safe_open(str(tmp_path / "a.safetensors"), "pt") as opened:
        assert {name: opened.get_slice(name).get_dtype() for name in opened.keys()} == dict.fromkeys(TENSORS, "BF16")  # noqa: SIM118
