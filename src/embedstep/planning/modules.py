"""The modules that a model can be built from: the options of each, what it takes, and what it gives.

The library passes the features of a batch from module to module and checks none of them: a module that finds nothing to
work on fails in the first batch, or does nothing. The table is plain data, so that a list of modules is checked on a
machine without torch, and built from the same rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from embedstep.planning.kinds import Kind, KindTable
from embedstep.planning.module_files import Found, clip, count_words, static_embedding, transformer, word_vectors
from embedstep.request import extensions
from embedstep.request.model import POOLING_MODES
from embedstep.request.options import boolean, choice, integer, integers, number, some, text, weights, words

Feature = Literal["texts", "token embeddings", "a sentence embedding"]
TEXTS: Feature = "texts"
TOKENS: Feature = "token embeddings"
SENTENCE: Feature = "a sentence embedding"
FEATURE_KEYS: Mapping[str, Feature] = {"sentence_embedding": SENTENCE, "token_embeddings": TOKENS}
"""Features by their names in the library."""
Values = Mapping[str, Any]
Sizes = Mapping[str, int | None]
"""Number of values of each parameter by its name in the module; None where only the training knows it."""

_FIRST, _LAYERS, _IDS, _WORDS = "first token", "all layers", "token ids", "number of words"
"""What some modules pass on besides embeddings, and others need."""
ROUTES = ("query", "document")
_ACTIVATIONS = ("Tanh", "Identity", "ReLU", "GELU", "SiLU", "Sigmoid", "ELU", "LeakyReLU", "Mish", "Softplus")
"""Classes of `torch.nn` that need no arguments, so that a saved model finds its activation by the name alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What a module hands on to the next.

    Attributes:
        kind: texts, token embeddings or a sentence embedding; None after a module that is not known.
        width: dimension of the embeddings; None where only the training knows it.
        traits: what comes with the token embeddings.
        layers: layers of the transformer that made them.
        tokens: number of tokens of its tokenizer.
    """

    kind: Feature | None = TEXTS
    width: int | None = None
    traits: frozenset[str] = frozenset()
    layers: int | None = None
    tokens: int | None = None


def _same_width(values: Values, width: int | None) -> int | None:
    return width


def _no_parameters(values: Values, before: Features) -> Sizes:
    return {}


def _nothing_required(values: Values, before: Features) -> str:
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleKind(Kind):
    """One module. A class of another package gets the options as keyword arguments.

    Attributes:
        takes: features that it can work on.
        gives: the feature that it makes; None for the one that it took.
        width: dimension of its embeddings, from the values of its options and the dimension before it.
        input_width: option with the dimension before it, which is filled in.
        parameters: number of values of each parameter, from the values of its options and the features before it; None
            where that is not known.
        requires: message about a missing trait of the features before it; empty if none is missing.
        traits: what it passes on besides token embeddings.
        cuts: whether, by its options, it gives another number of token embeddings than there are tokens.
        read: reads what its files say; None for a module without files.
        trains: option that is false where its parameters do not train.
        has_limit: whether texts can be cut to a number of tokens (`model.max_seq_length`).
        filled: further arguments of the constructor, which are filled in.
        left_out: arguments of the constructor that a request cannot give.
    """

    takes: tuple[Feature, ...]
    gives: Feature | None = None
    width: Callable[[Values, int | None], int | None] = _same_width
    input_width: str = ""
    parameters: Callable[[Values, Features], Sizes | None] = _no_parameters
    requires: Callable[[Values, Features], str] = _nothing_required
    traits: frozenset[str] = frozenset()
    cuts: Callable[[Values], bool] = lambda values: False
    read: Callable[[Values, Path | None], Found] | None = None
    trains: str = ""
    has_limit: bool = False
    filled: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def taken(self, values: Values) -> tuple[Feature, ...]:
        """Return the features that it works on with these options."""
        key = values.get("module_input_name")
        return (FEATURE_KEYS[key],) if isinstance(key, str) and key in FEATURE_KEYS else self.takes

    def after(self, values: Values, before: Features, found: Found | None) -> Features:
        """Return what it hands on.

        Args:
            values: values of its options.
            before: what it gets.
            found: what its files say, for a module that reads some.
        """
        if found is not None:
            return Features(
                kind=self.gives, width=found.width, traits=self.traits, layers=found.layers, tokens=found.tokens
            )
        # Another module in between would be passed over by the one that takes the outputs of all layers.
        traits = self.traits or before.traits - {_LAYERS}
        return replace(
            before,
            kind=self.gives or before.kind,
            width=self.width(values, before.width),
            traits=traits - {_IDS, _WORDS} if self.cuts(values) else traits,
        )


def _dense_parameters(values: Values, before: Features) -> Sizes:
    wide, out = before.width, values["out_features"]
    sizes = {"linear.weight": wide and wide * out}
    if values["bias"]:
        sizes["linear.bias"] = out
    if values["use_residual"] and wide != out:
        sizes["residual.weight"] = wide and wide * out
    return sizes


def _cnn_parameters(values: Values, before: Features) -> Sizes:
    out, wide = values["out_channels"], before.width
    sizes: dict[str, int | None] = {}
    for place, size in enumerate(values["kernel_sizes"]):
        sizes |= {f"convs.{place}.weight": wide and wide * out * size, f"convs.{place}.bias": out}
    return sizes


def _lstm_parameters(values: Values, before: Features) -> Sizes:
    hidden, directions = values["hidden_dim"], ("", "_reverse") if values["bidirectional"] else ("",)
    sizes: dict[str, int | None] = {}
    wide = before.width
    for layer in range(values["num_layers"]):
        for direction in directions:
            end = f"l{layer}{direction}"
            sizes |= {f"encoder.weight_ih_{end}": wide and 4 * hidden * wide, f"encoder.bias_ih_{end}": 4 * hidden}
            sizes |= {f"encoder.weight_hh_{end}": 4 * hidden * hidden, f"encoder.bias_hh_{end}": 4 * hidden}
        wide = hidden * len(directions)
    return sizes


def _layer_weights(values: Values, before: Features) -> Sizes:
    return {"layer_weights": before.layers and before.layers + 1 - values["layer_start"]}


def _first_token_is_known(values: Values, before: Features) -> str:
    modes = values["pooling_mode"]
    is_asked = "cls" in ([modes] if isinstance(modes, str) else modes)
    if is_asked and before.kind == TOKENS and _FIRST not in before.traits:
        return "pooling_mode cls takes the first token of a transformer, and there is none"
    return ""


def _all_layers_are_known(values: Values, before: Features) -> str:
    if before.kind == TOKENS and _LAYERS not in before.traits:
        return "takes the outputs of all layers of a transformer; put it right after transformer"
    start = values["layer_start"]
    if before.layers is not None and start > before.layers:
        return f"layer_start is {start}, and the transformer has {before.layers} layers"
    return ""


def _words_are_counted(values: Values, before: Features) -> str:
    if before.kind == TOKENS and _WORDS not in before.traits:
        return "needs the number of words of each text, which only word_embeddings passes on"
    return ""


def _ids_are_known(values: Values, before: Features) -> str:
    if before.kind == TOKENS and _IDS not in before.traits:
        return "weights tokens, and the modules before it give another number of embeddings"
    return ""


def _kernels_agree(values: Values) -> str | None:
    sizes, strides = values["kernel_sizes"], values["stride_sizes"]
    if any(size % 2 == 0 for size in sizes):
        return "kernel_sizes must be odd: with an even one, a text of one token gives nothing"
    if strides is not None and (len(strides) != len(sizes) or len(set(strides)) > 1):
        return f"stride_sizes must be one number for each of the {len(sizes)} kernel_sizes, all the same"
    return None


_PATH = text(None)
_TRANSFORMER_ARGUMENTS = (
    "transformer_task",
    "processing_kwargs",
    "backend",
    "modality_config",
    "module_output_name",
    "unpad_inputs",
    "query_length",
    "document_length",
    "query_expansion",
    "do_lower_case",
    "tokenizer_name_or_path",
)
_LOADING = ("model_name_or_path", "model_kwargs", "processor_kwargs", "config_kwargs")
"""Arguments that come from `path` and from the section `model`."""

_ROWS = (
    ModuleKind(
        name="transformer",
        class_name="Transformer",
        takes=(TEXTS,),
        gives=TOKENS,
        options={"path": _PATH, "max_seq_length": integer(None, least=1)},
        traits=frozenset({_FIRST, _LAYERS, _IDS}),
        read=transformer,
        has_limit=True,
        filled=_LOADING,
        left_out=_TRANSFORMER_ARGUMENTS,
    ),
    ModuleKind(
        name="static_embedding",
        class_name="StaticEmbedding",
        takes=(TEXTS,),
        gives=SENTENCE,
        options={"path": _PATH, "embedding_dim": integer(None, least=1)},
        read=static_embedding,
        filled=("tokenizer", "embedding_weights"),
    ),
    ModuleKind(
        name="word_embeddings",
        class_name="WordEmbeddings",
        takes=(TEXTS,),
        gives=TOKENS,
        options={
            "path": text(),
            "update_embeddings": boolean(False),
            "item_separator": text(" "),
            "max_vocab_size": integer(None, least=1),
        },
        traits=frozenset({_IDS, _WORDS}),
        read=word_vectors,
        trains="update_embeddings",
        has_limit=True,
        filled=("embeddings_file_path",),
        left_out=("tokenizer",),
    ),
    ModuleKind(
        name="bow",
        class_name="BoW",
        takes=(TEXTS,),
        gives=SENTENCE,
        options={
            "vocab": words(),
            "word_weights": weights({}),
            "unknown_word_weight": number(1.0, least=0),
            "cumulative_term_frequency": boolean(True),
        },
        read=count_words,
    ),
    ModuleKind(
        name="clip",
        class_name="CLIPModel",
        takes=(TEXTS,),
        gives=SENTENCE,
        options={"path": _PATH, "max_seq_length": integer(None, least=1)},
        read=clip,
        has_limit=True,
        filled=_LOADING,
        left_out=_TRANSFORMER_ARGUMENTS,
    ),
    ModuleKind(
        name="router",
        class_name="Router",
        takes=(TEXTS,),
        options={"default_route": choice("document", ROUTES)},
        has_limit=True,
        filled=("sub_modules",),
        left_out=("allow_empty_key", "route_mappings"),
    ),
    ModuleKind(
        name="weighted_layer_pooling",
        class_name="WeightedLayerPooling",
        takes=(TOKENS,),
        options={
            "embedding_dimension": integer(None, least=1),
            "layer_start": integer(4, least=0),
        },
        input_width="embedding_dimension",
        parameters=_layer_weights,
        requires=_all_layers_are_known,
        filled=("num_hidden_layers",),
        left_out=("layer_weights",),
    ),
    ModuleKind(
        name="word_weights",
        class_name="WordWeights",
        takes=(TOKENS,),
        options={"word_weights": weights(), "unknown_word_weight": number(1.0, least=0)},
        parameters=lambda values, before: {"emb_layer.weight": before.tokens},
        requires=_ids_are_known,
        filled=("vocab",),
    ),
    ModuleKind(
        name="cnn",
        class_name="CNN",
        takes=(TOKENS,),
        options={
            "in_embedding_dimension": integer(None, least=1),
            "out_channels": integer(256, least=1),
            "kernel_sizes": integers([1, 3, 5], least=1),
            "stride_sizes": integers(None, least=1),
        },
        rules=(_kernels_agree,),
        width=lambda values, width: values["out_channels"] * len(values["kernel_sizes"]),
        input_width="in_embedding_dimension",
        parameters=_cnn_parameters,
        cuts=lambda values: bool(set(values["stride_sizes"] or ()) - {1}),
    ),
    ModuleKind(
        name="lstm",
        class_name="LSTM",
        takes=(TOKENS,),
        options={
            "embedding_dimension": integer(None, least=1),
            "hidden_dim": integer(least=1),
            "num_layers": integer(1, least=1),
            "dropout": number(0.0, least=0, most=1),
            "bidirectional": boolean(True),
        },
        width=lambda values, width: values["hidden_dim"] * (2 if values["bidirectional"] else 1),
        input_width="embedding_dimension",
        parameters=_lstm_parameters,
        requires=_words_are_counted,
    ),
    ModuleKind(
        name="pooling",
        class_name="Pooling",
        takes=(TOKENS,),
        gives=SENTENCE,
        options={
            "embedding_dimension": integer(None, least=1),
            "pooling_mode": some("mean", POOLING_MODES),
            "include_prompt": boolean(True),
        },
        width=lambda values, width: (
            width and width * (1 if isinstance(values["pooling_mode"], str) else len(values["pooling_mode"]))
        ),
        input_width="embedding_dimension",
        requires=_first_token_is_known,
    ),
    ModuleKind(
        name="dense",
        class_name="Dense",
        takes=(SENTENCE, TOKENS),
        options={
            "in_features": integer(None, least=1),
            "out_features": integer(least=1),
            "bias": boolean(True),
            "activation_function": choice("Tanh", _ACTIVATIONS, may_be_null=True),
            "module_input_name": choice("sentence_embedding", tuple(FEATURE_KEYS)),
            "use_residual": boolean(False),
        },
        width=lambda values, width: int(values["out_features"]),
        input_width="in_features",
        parameters=_dense_parameters,
        left_out=("init_weight", "init_bias", "module_output_name"),
    ),
    ModuleKind(
        name="layer_norm",
        class_name="LayerNorm",
        takes=(SENTENCE,),
        options={"dimension": integer(None, least=1)},
        input_width="dimension",
        parameters=lambda values, before: {"norm.weight": before.width, "norm.bias": before.width},
    ),
    ModuleKind(
        name="dropout", class_name="Dropout", takes=(SENTENCE,), options={"dropout": number(0.2, least=0, most=1)}
    ),
    ModuleKind(
        name="normalize",
        class_name="Normalize",
        takes=(SENTENCE, TOKENS),
        options={"module_input_name": choice("sentence_embedding", tuple(FEATURE_KEYS))},
        left_out=("module_output_name",),
    ),
)
MODULES: Mapping[str, ModuleKind] = {row.name: row for row in _ROWS}
_TABLE = KindTable(rows=MODULES, row_type=ModuleKind, group=extensions.MODULES, noun="module")


def find_module(name: str) -> ModuleKind | str:
    """Return a module by its name, class name or declaration, or the message that says why there is none."""
    return _TABLE.find_or_explain(name)


def module_kind(name: str) -> ModuleKind:
    """Return the module of a checked request."""
    return _TABLE.find(name)
