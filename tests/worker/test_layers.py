"""Layers that are taken out of a transformer, for each layout: as a script does it, and again after saving."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

from embedstep.data.parameters import saved_parameters
from embedstep.errors import InvalidRequestError
from embedstep.planning.model_checks import check_model, read_facts
from embedstep.request.loading import load_request
from embedstep.worker.layers import freeze, keep_layers
from embedstep.worker.models import build_model

Build = Callable[..., dict[str, Any]]
SIZES = {
    "vocab_size": 30522, "hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 8,
}  # fmt: skip
DECODER = {**SIZES, "num_key_value_heads": 2, "head_dim": 4, "pad_token_id": 0}
LAYOUTS: dict[str, tuple[dict[str, Any], str]] = {
    "Bert": (SIZES, "encoder.layer"),
    "DistilBert": ({"vocab_size": 30522, "dim": 8, "n_layers": 4, "n_heads": 2, "hidden_dim": 8}, "transformer.layer"),
    "ModernBert": ({**SIZES, "pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2,
                    "sep_token_id": 2, "global_attn_every_n_layers": 3, "local_attention": 4}, "layers"),
    "Qwen3": (DECODER, "layers"),
    "GPT2": ({"vocab_size": 30522, "n_embd": 8, "n_layer": 4, "n_head": 2, "pad_token_id": 0}, "h"),
    "T5Encoder": ({"vocab_size": 30522, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 4, "num_heads": 2},
                  "encoder.block"),
}  # fmt: skip
TEXTS = ["open a file and read all of its many lines", "cache"]


@pytest.fixture
def saved(tmp_path: Path, minilm: Path) -> Callable[[str, dict[str, Any]], str]:
    """Save a model of a layout, with random weights and MiniLM's tokenizer."""

    def save(layout: str, sizes: dict[str, Any]) -> str:
        torch.manual_seed(3)
        config = getattr(transformers, f"{layout.removesuffix('Encoder')}Config")(**sizes)
        getattr(transformers, f"{layout}Model")(config).save_pretrained(tmp_path / layout)
        transformers.AutoTokenizer.from_pretrained(minilm).save_pretrained(tmp_path / layout)
        return str(tmp_path / layout)

    return save


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_smaller_model_is_that_of_a_script_and_of_its_files(
    layout: str, saved: Callable[..., str], request_of: Build, tmp_path: Path
) -> None:
    sizes, layers = LAYOUTS[layout]
    source = saved(layout, sizes)
    model = {"path": source, "pooling": "mean", "layers": {"keep": [0, 2]}}
    request = load_request(json.dumps(request_of(model=model)))
    assert list(check_model(request)) == []
    built = build_model(request.model, fetched=None, device="cpu").eval()
    facts = read_facts(request)
    assert facts is not None
    assert facts.parameters == sum(each.numel() for each in built.parameters())
    # As scripts do it: the list of layers is replaced, and their number in the configuration.
    script = SentenceTransformer(source, device="cpu").eval()
    inside = script[0].auto_model
    kept = torch.nn.ModuleList([inside.get_submodule(layers)[place] for place in (0, 2)])
    inside.set_submodule(layers, kept)
    inside.config.num_hidden_layers = 2
    script[1].pooling_mode = "mean"
    built.save_pretrained(str(tmp_path / "smaller"))
    again = SentenceTransformer(str(tmp_path / "smaller"), device="cpu")
    found, expected, reloaded = (torch.from_numpy(each.encode(TEXTS)) for each in (built, script, again))
    assert torch.equal(found, reloaded)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("head", "layout"),
    [
        ("BertForMaskedLM", "Bert"), ("BertForSequenceClassification", "Bert"), ("GPT2LMHeadModel", "GPT2"),
        ("T5ForConditionalGeneration", "T5Encoder"),
    ],
)  # fmt: skip
def test_the_parameters_of_a_pretrained_checkpoint_are_those_without_its_head(
    head: str, layout: str, minilm: Path, tmp_path: Path
) -> None:
    config = getattr(transformers, f"{layout.removesuffix('Encoder')}Config")(**LAYOUTS[layout][0])
    getattr(transformers, head)(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(minilm).save_pretrained(tmp_path)
    loaded = SentenceTransformer(str(tmp_path), device="cpu")
    assert saved_parameters(tmp_path) == {name: each.numel() for name, each in loaded.named_parameters()}


@pytest.mark.parametrize(
    ("layout", "keep", "problem"),
    [
        ("ModernBert", [1, 2], "layer 1 cannot become layer 0, which has other parameters; keep layer 0"),
        ("T5Encoder", [1, 2], "layer 1 cannot become layer 0, which has other parameters; keep layer 0"),
        ("Albert", [0, 1], "is for a transformer whose layers have parameters of their own, and this has none"),
    ],
)
def test_layers_that_cannot_be_taken_out_are_refused_twice(
    layout: str, keep: list[int], problem: str, saved: Callable[..., str], request_of: Build
) -> None:
    source = saved(layout, LAYOUTS.get(layout, ({**SIZES, "embedding_size": 8}, ""))[0])
    request = load_request(json.dumps(request_of(model={"path": source, "layers": {"keep": keep}})))
    assert [problem.message for problem in check_model(request)] == [problem]
    transformer = SentenceTransformer(source, device="cpu")[0]
    with pytest.raises(InvalidRequestError, match=r"model\.layers\.keep: "):
        keep_layers(transformer, keep)


def test_layers_beyond_the_last_are_refused_by_the_rank_too(tiny_model: Path) -> None:
    transformer = SentenceTransformer(str(tiny_model), device="cpu")[0]
    with pytest.raises(InvalidRequestError, match=r"has 2, and the model has the layers 0 to 1"):
        keep_layers(transformer, [0, 2])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("embedings", r"model\.freeze\.0: 'embedings' matches no parameter"), ("", "leaves no parameter to train")],
)
def test_patterns_are_refused_by_the_rank_too(tiny_model: Path, pattern: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        freeze(SentenceTransformer(str(tiny_model), device="cpu"), [pattern])


def test_taking_layers_out_uses_no_random_numbers(tiny_model: Path) -> None:
    transformer = SentenceTransformer(str(tiny_model), device="cpu")[0]
    before = torch.get_rng_state()
    keep_layers(transformer, [1])
    assert torch.equal(torch.get_rng_state(), before)
