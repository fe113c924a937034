"""What is refused of a list of modules, before torch is imported, and what is known of a list that fits together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.planning.model_checks import check_model, read_facts
from embedstep.planning.module_checks import follow_modules
from embedstep.request.schema import TrainRequest
from tests.planning.plans import kind

Build = Callable[..., dict[str, Any]]
ROUTES = (
    "arguments.router_mapping: is empty, and the model has a route for each kind of text; write {anchor: query, "
    "positive: document}"
)
FIRST = "begin with transformer or static_embedding or word_embeddings or bow or clip or router"


def router(query: list[Any], document: list[Any]) -> dict[str, Any]:
    return {"kind": "router", "routes": {"query": query, "document": document}}


WORDS = kind("word_embeddings", path="vectors.txt")
ENDS = ["transformer", "pooling"]


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    # An unknown module: misspelled, of another family, of a package that is not there.
    ({"path": "SAVED", "modules": ["transformr", "pooling"]},
     ["model.modules.0.kind: no module is named 'transformr'; did you mean transformer?"]),
    ({"path": "SAVED", "modules": [*ENDS, "SpladePooling"]},
     ["model.modules.2.kind: no module is named 'SpladePooling'; did you mean pooling?"]),
    ({"path": "SAVED", "modules": [*ENDS, "birdsung:head"]},
     ["model.modules.2.kind: birdsung cannot be imported: ModuleNotFoundError: No module named 'birdsung'"]),
    # A wrong order.
    ({"path": "SAVED", "modules": ["pooling", "transformer"]},
     [f"model.modules.0: pooling takes token embeddings, and is first, where texts come in; {FIRST}",
      "model.modules.1: transformer takes texts, and can only be first; the modules before it give a sentence "
      "embedding",
      "model.modules: ends with token embeddings; add pooling, which makes one of them"]),
    ({"path": "SAVED", "modules": ["transformer"]},
     ["model.modules: ends with token embeddings; add pooling, which makes one of them"]),
    ({"path": "SAVED", "modules": [*ENDS, "pooling"]},
     ["model.modules.2: pooling takes token embeddings, and the modules before it give a sentence embedding"]),
    ({"path": "SAVED", "modules": ["transformer", "normalize", "pooling"]},
     ["model.modules.1: normalize takes a sentence embedding, and the modules before it give token embeddings"]),
    ({"path": "SAVED", "modules": ["transformer", kind("lstm", hidden_dim=4), "pooling"]},
     ["model.modules.1: lstm needs the number of words of each text, which only word_embeddings passes on"]),
    ({"modules": [WORDS, kind("weighted_layer_pooling", layer_start=0), "pooling"]},
     ["model.modules.1: weighted_layer_pooling takes the outputs of all layers of a transformer; put it right after "
      "transformer"]),
    ({"path": "SAVED", "modules": ["transformer", "weighted_layer_pooling", "pooling"]},
     ["model.modules.1: weighted_layer_pooling layer_start is 4, and the transformer has 2 layers"]),
    ({"path": "SAVED", "modules": ["transformer", kind("cnn", stride_sizes=[2, 2, 2]),
                                   kind("word_weights", word_weights={}), "pooling"]},
     ["model.modules.2: word_weights weights tokens, and the modules before it give another number of embeddings"]),
    ({"modules": [WORDS, kind("pooling", pooling_mode="cls"), kind("dense", out_features=2)]},
     ["model.modules.1: pooling pooling_mode cls takes the first token of a transformer, and there is none"]),
    # Options of the wrong type or name, all at once.
    ({"path": "SAVED", "modules": ["transformer", kind("pooling", pooling_mode="mena"),
                                   kind("dense", out_feature=8), kind("dropout", dropout=2)]},
     ["model.modules.1.options.pooling_mode: must be one, or a list, each once, of cls, max, mean, "
      "mean_sqrt_len_tokens, weightedmean, lasttoken, not 'mena'; did you mean mean?",
      "model.modules.2.options.out_feature: is not an option of dense; it has in_features, out_features, bias, "
      "activation_function, module_input_name, use_residual; did you mean out_features?",
      "model.modules.2.options.out_features: is missing: dense needs an integer of 1 or more",
      "model.modules.3.options.dropout: must be a number of 0 or more and 1 or less, not 2"]),
    ({"path": "SAVED", "modules": ["transformer", kind("pooling", pooling_mode=["cls", "cls"]),
                                   kind("dense", out_features="eight", bias=1)]},
     ["model.modules.1.options.pooling_mode: must be one, or a list, each once, of cls, max, mean, "
      "mean_sqrt_len_tokens, weightedmean, lasttoken, not ['cls', 'cls']",
      "model.modules.2.options.out_features: must be an integer of 1 or more, not 'eight'",
      "model.modules.2.options.bias: must be true or false, not 1"]),
    ({"path": "SAVED", "modules": ["transformer", kind("cnn", kernel_sizes=[1, 2]), "pooling"]},
     ["model.modules.1.options: kernel_sizes must be odd: with an even one, a text of one token gives nothing"]),
    ({"path": "SAVED", "modules": ["transformer", kind("cnn", kernel_sizes=[1, 3], stride_sizes=[1]), "pooling"]},
     ["model.modules.1.options: stride_sizes must be one number for each of the 2 kernel_sizes, all the same"]),
    # Dimensions that do not fit.
    ({"path": "SAVED", "modules": [*ENDS, kind("dense", in_features=384, out_features=8)]},
     ["model.modules.2.options.in_features: is 384, and the modules before it give 32 dimensions; leave it out"]),
    ({"path": "SAVED", "modules": ["transformer", kind("pooling", pooling_mode=["cls", "max"]),
                                   kind("layer_norm", dimension=32)]},
     ["model.modules.2.options.dimension: is 32, and the modules before it give 64 dimensions; leave it out"]),
    ({"path": "SAVED", "modules": [*ENDS, kind("dense", out_features=8)], "truncate_dim": 16},
     ["model.truncate_dim: is 16, and embeddings have 8 dimensions"]),
    # Routes.
    ({"path": "SAVED", "modules": ["router"]},
     [ROUTES,
      "model.modules.0.routes: is missing: router needs a list of modules for each of query and document"]),
    ({"path": "SAVED", "modules": [{"kind": "transformer", "routes": {}}, "pooling"]},
     ["model.modules.0.routes: is for a router alone"]),
    ({"path": "SAVED", "modules": [{"kind": "router", "routes": {"query": ENDS, "answer": ENDS}}]},
     [ROUTES,
      "model.modules.0.routes: has query, answer; router needs a list of modules for each of query and document"]),
    ({"path": "SAVED", "modules": [router([kind("static_embedding", embedding_dim=16)], ENDS)]},
     [ROUTES,
      "model.modules.0.routes: end apart: query gives 16 dimensions, and document 32 dimensions"]),
    ({"path": "SAVED", "modules": [*ENDS, router([kind("dense", out_features=8)], ENDS)]},
     [ROUTES,
      "model.modules.2: router takes texts, and can only be first; the modules before it give a sentence embedding",
      f"model.modules.2.routes.query.0: dense takes a sentence embedding, and is first, where texts come in; {FIRST}",
      "model.modules.2.routes: end apart: query gives 8 dimensions, and document 32 dimensions"]),
    # Files.
    ({"modules": ENDS}, ["model.modules.0.options.path: is missing: transformer needs a folder or file"]),
    ({"modules": ["word_embeddings", "pooling"]},
     ["model.modules.0.options.path: is missing: word_embeddings needs a text"]),
    ({"path": "SAVED", "modules": [kind("bow", vocab=["a"]), kind("dense", out_features=8)]},
     [f"model.path: is read by no module; one without a path of its own reads it: {FIRST[11:]}"]),
    # Nothing to train, or a setting that nothing reads.
    ({"modules": [kind("bow", vocab=["a", "b"])]}, ["model.modules: has no parameter to train; add dense"]),
    ({"modules": [WORDS, "pooling"]}, ["model.modules: leaves no parameter to train"]),
    ({"modules": [kind("bow", vocab=["a"]), kind("dense", out_features=8)], "max_seq_length": 8},
     ["model.max_seq_length: is not read by BoW, which cuts no text; remove it"]),
    ({"modules": [kind("bow", vocab=["a"]), kind("dense", out_features=8)],
      "model_kwargs": {"dtype": "float64"}, "config_kwargs": {"hidden_size": 8}},
     ["model.config_kwargs: is for a transformer, and model.modules has none"]),
    ({"path": "SAVED", "modules": [kind("transformer", max_seq_length=1000), "pooling"]},
     ["model.modules.0.options.max_seq_length: is 1000, and the model has positions for 512 tokens"]),
]  # fmt: skip


@pytest.mark.parametrize(("model", "problems"), REFUSED)
def test_a_list_that_does_not_fit_together_is_refused(
    request_with: Callable[..., TrainRequest], tiny_model: Path, model: dict[str, Any], problems: list[str]
) -> None:
    found = [str(problem) for problem in check_model(request_with(model))]
    assert found == [problem.replace("BARE", str(tiny_model.parent / "bert")) for problem in problems]


@pytest.mark.parametrize(
    ("model", "modules", "dimension"),
    [
        ({"path": "SAVED", "modules": ENDS}, ("Transformer", "Pooling"), 32),
        ({"path": "SAVED", "modules": [kind("Transformer", max_seq_length=16), "Pooling", "Normalize"]},
         ("Transformer", "Pooling", "Normalize"), 32),
        ({"path": "BARE", "modules": ["static_embedding"]}, ("StaticEmbedding",), 32),
        ({"modules": [kind("static_embedding", path="BARE", embedding_dim=8)]}, ("StaticEmbedding",), 8),
        ({"modules": [kind("bow", vocab="words.txt", word_weights="weights.json"), kind("dense", out_features=3)]},
         ("BoW", "Dense"), 3),
        ({"modules": [WORDS, kind("cnn", out_channels=2), "pooling"]}, ("WordEmbeddings", "CNN", "Pooling"), 6),
        ({"modules": [WORDS, kind("lstm", hidden_dim=5, bidirectional=False),
                      kind("pooling", pooling_mode=["max", "mean"])]}, ("WordEmbeddings", "LSTM", "Pooling"), 10),
        ({"path": "SAVED", "modules": ["transformer", kind("weighted_layer_pooling", layer_start=1), "pooling"],
          "layers": {"keep": [0]}}, ("Transformer", "WeightedLayerPooling", "Pooling"), 32),
    ],
)  # fmt: skip
def test_a_list_that_fits_together_has_no_problems(
    request_with: Callable[..., TrainRequest], model: dict[str, Any], modules: tuple[str, ...], dimension: int
) -> None:
    request = request_with(model)
    assert list(check_model(request)) == []
    facts = read_facts(request)
    assert facts is not None
    assert (facts.modules, facts.dimension) == (modules, dimension)


def test_a_router_needs_its_mapping(request_with: Callable[..., TrainRequest]) -> None:
    model = {"path": "SAVED", "modules": [router(["static_embedding"], ENDS), "normalize"]}
    request = request_with(model, router_mapping={"anchor": "query", "positive": "document"})
    assert list(check_model(request)) == []


def test_the_mean_is_not_taken_of_what_was_saved_with_another_pooling(
    request_with: Callable[..., TrainRequest], tiny_model: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "cls"
    for file in tiny_model.rglob("*"):
        if file.is_file():
            copy = saved / file.relative_to(tiny_model)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    (settings,) = saved.glob("*_Pooling/config.json")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "pooling_mode": "cls"}))
    assert [str(problem) for problem in check_model(request_with({"path": str(saved), "modules": ENDS}))] == [
        "model.modules.1.options.pooling_mode: is missing: without it, pooling takes the mean, and the transformer was "
        "saved with cls"
    ]
    chosen = {"path": str(saved), "modules": ["transformer", kind("pooling", pooling_mode="mean")]}
    assert list(check_model(request_with(chosen))) == []


def test_without_the_files_of_a_hub_model_only_the_order_is_checked(
    request_with: Callable[..., TrainRequest],
) -> None:
    request = request_with({"path": "owner/name", "modules": ["transformer", kind("dense", out_features=4)]})
    built = follow_modules(request.model)
    assert [str(problem) for problem in built.problems] == [
        "model.modules.1: dense takes a sentence embedding, and the modules before it give token embeddings",
        "model.modules: ends with token embeddings; add pooling, which makes one of them",
    ]
    assert (built.features.width, built.sizes) == (4, None)
