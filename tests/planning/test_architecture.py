"""What a request may change in a model: pooling, layers, and what is frozen; checked by its files alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import InvalidRequestError
from embedstep.planning.checks import check_request
from embedstep.planning.model_checks import check_model, read_facts
from embedstep.request.loading import load_request
from embedstep.step import plan_step

Build = Callable[..., dict[str, Any]]
Problems = Callable[..., list[str]]
ENDS = ["transformer", "pooling"]
DECODER = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}


@pytest.fixture
def problems_of(request_of: Build, tiny_model: Path) -> Problems:
    """Return what is wrong with a model; without a path it is the tiny one."""

    def ask(**model: Any) -> list[str]:
        document = request_of(model={"path": str(tiny_model), **model})
        return [str(problem) for problem in check_model(load_request(json.dumps(document)))]

    return ask


@pytest.fixture
def bare_of(tiny_model: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a bare checkpoint: the tiny transformer with other settings in its configuration."""

    def build(**settings: Any) -> str:
        folder = tmp_path / "bare"
        shutil.copytree(tiny_model.parent / "bert", folder)
        config = folder / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **settings}))
        return str(folder)

    return build


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ({"pooling": "cls"},
         "model.pooling: is cls, and the model was saved with mean; remove it, or list model.modules to build another "
         "model"),
        ({"pooling": ["mean", "max"]},
         "model.pooling: is mean + max, and the model was saved with mean; remove it, or list model.modules to build "
         "another model"),
        ({"layers": {"keep": [0, 2, 4]}}, "model.layers.keep: has 2, 4, and the model has the layers 0 to 1"),
        ({"layers": {"keep": [1, 0]}}, "model.layers.keep: is [1, 0]; name each layer once, in their order"),
        ({"layers": {"keep": [0, 1]}}, "model.layers: keeps all 2 layers; remove it"),
        ({"layers": {"keep": [0]}, "modules": [{"kind": "static_embedding"}]},
         "model.layers: is for one transformer, and model.modules has 0"),
        ({"freeze": ["embedings"]},
         "model.freeze.0: 'embedings' matches no parameter of the model; they are named as "
         "model.0.model.embeddings.LayerNorm.bias, model.0.model.pooler.dense.weight"),
        ({"freeze": ["embeddings", r"layer\.1\."], "layers": {"keep": [1]}},
         r"model.freeze.1: 'layer\\.1\\.' matches no parameter of the model; they are named as "
         "model.0.model.embeddings.LayerNorm.bias, model.0.model.pooler.dense.weight"),
        ({"freeze": ["("]},
         "model.freeze.0: '(' is not a regular expression: missing ), unterminated subpattern at position 0"),
        ({"freeze": ["model"]}, "model.freeze: leaves no parameter to train"),
        ({"freeze": [r"^model\.1\."], "modules": ["transformer", "pooling"]},
         r"model.freeze.0: '^model\\.1\\.' matches no parameter of the model; they are named as "
         "model.0.model.embeddings.LayerNorm.bias, model.0.model.pooler.dense.weight"),
    ],
)  # fmt: skip
def test_what_contradicts_the_saved_model_is_refused(
    problems_of: Problems, model: dict[str, Any], problem: str
) -> None:
    assert problems_of(**model) == [problem]


@pytest.mark.parametrize(
    "model",
    [
        {"pooling": "mean"},
        {"layers": {"keep": [1]}},
        {"freeze": ["embeddings", r"^model\.0\.model\.encoder\.layer\.0\."]},
        {"freeze": [r"^model\.2\."], "modules": [*ENDS, {"kind": "dense", "options": {"out_features": 4}}]},
    ],
)  # fmt: skip
def test_what_fits_the_saved_model_is_accepted(problems_of: Problems, model: dict[str, Any]) -> None:
    assert problems_of(**model) == []


@pytest.mark.parametrize(
    ("settings", "pooling", "problems"),
    [
        ({}, None, []),
        ({}, "cls", []),
        ({}, ["cls", "max"], []),
        (DECODER, "lasttoken", []),
        (DECODER, "mean", []),
        ({**DECODER, "is_causal": False}, None, []),
        (DECODER, None,
         ["model.pooling: is missing: Qwen3ForCausalLM is a decoder, and its files name no pooling; write lasttoken "
          "(sentence-transformers alone adds lasttoken)"]),
        ({**DECODER, "architectures": ["Qwen3Model"]}, None,
         ["model.pooling: is missing: Qwen3Model is a decoder, and its files name no pooling; write lasttoken "
          "(sentence-transformers alone adds mean)"]),
        ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, None,
         ["model.pooling: is missing: GPT2LMHeadModel is a decoder, and its files name no pooling; write lasttoken "
          "(sentence-transformers alone adds mean)"]),
        ({"model_type": "clip", "projection_dim": 16}, "mean",
         ["model.pooling: is for token embeddings, and clip gives one embedding; remove it"]),
    ],
)  # fmt: skip
def test_the_pooling_of_a_bare_decoder_is_asked_for(
    problems_of: Problems, bare_of: Callable[..., str], settings: dict[str, Any], pooling: Any, problems: list[str]
) -> None:
    assert problems_of(path=bare_of(**settings), pooling=pooling) == problems


def test_pooling_of_a_bare_model_is_known_to_the_plan(request_of: Build, bare_of: Callable[..., str]) -> None:
    model = {"path": bare_of(), "pooling": ["cls", "max"], "layers": {"keep": [0]}, "freeze": ["embeddings"]}
    facts = read_facts(load_request(json.dumps(request_of(model=model))))
    assert facts is not None
    assert (facts.modules, facts.pooling, facts.dimension, facts.is_bare, facts.layers) == (
        ("Transformer", "Pooling"), "cls+max", 64, False, 1,
    )  # fmt: skip
    assert facts.parameters is not None
    assert facts.trainable is not None
    assert facts.parameters - facts.trainable == (30522 + 512 + 2 + 2) * 32


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"path": "m", "static": "m"}, "give exactly one of path and static"),
        ({"static": "m", "modules": ["static_embedding"]}, "give modules, with static_embedding as the first"),
        ({"path": "m", "modules": ["transformer"], "pooling": "cls"}, "give the module pooling its pooling_mode"),
        ({"static": "m", "dimension": 8, "pooling": "cls"}, "pooling and layers belong to a transformer"),
        ({"static": "m", "dimension": 8, "layers": {"keep": [0]}}, "pooling and layers belong to a transformer"),
        ({"path": "m", "modules": []}, "modules"),
        ({"path": "m", "pooling": "cl"}, "did you mean"),
        ({"path": "m", "layers": {"keep": []}}, "keep"),
        ({"path": "m", "layers": {"keep": [-1]}}, "keep"),
        ({"path": "m", "layers": {"keep": "all"}}, "keep"),
        ({"path": "m", "freeze": "embeddings"}, "freeze"),
    ],
)
def test_sections_that_exclude_each_other_are_refused(request_of: Build, model: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        load_request(json.dumps(request_of(model=model)))


@pytest.mark.parametrize(
    ("unused", "freeze", "problems"),
    [
        (None, [],
         ["arguments.ddp_find_unused_parameters: is missing; a router on 2 processes needs false",
          "model.freeze: leaves model.0.sub_modules.document.0.model.pooler.dense.bias to train, which no text "
          "reaches; a router on several processes needs it frozen: [pooler]"]),
        (True, ["pooler"], ["arguments.ddp_find_unused_parameters: is true; a router on 2 processes needs false"]),
        (False, ["pooler"], []),
    ],
)  # fmt: skip
def test_a_router_on_several_processes_leaves_no_parameter_out(
    request_of: Build, tiny_model: Path, unused: bool | None, freeze: list[str], problems: list[str]
) -> None:
    routes = {"query": ["static_embedding"], "document": ENDS}
    document = request_of(
        model={"path": str(tiny_model), "modules": [{"kind": "router", "routes": routes}], "freeze": freeze},
        launch={"processes_per_node": 2},
        arguments={
            "ddp_find_unused_parameters": unused, "router_mapping": {"anchor": "query", "positive": "document"},
        },
    )  # fmt: skip
    try:
        plan_step(load_request(json.dumps(document)))
        found = []
    except InvalidRequestError as error:
        found = [str(problem) for problem in error.problems]
    assert found == problems


@pytest.mark.parametrize(
    "model",
    [
        {"modules": [{"kind": "bow", "options": {"vocab": ["a"]}}, {"kind": "dense", "options": {"out_features": 2}}]},
        {"modules": [{"kind": "static_embedding", "options": {"embedding_dim": 4}}]},
    ],
)
def test_a_loss_that_needs_a_transformer_is_refused_with_other_modules(
    request_of: Build, tiny_model: Path, model: dict[str, Any]
) -> None:
    loss = "cached_multiple_negatives_ranking"
    path = {} if model["modules"][0]["kind"] == "bow" else {"path": str(tiny_model)}
    found = check_request(load_request(json.dumps(request_of(model={**path, **model}, loss=loss))))
    name = model["modules"][0]["kind"]
    assert [str(problem) for problem in found] == [
        f"loss: cached_multiple_negatives_ranking needs a transformer, and model.modules begins with {name}"
    ]
