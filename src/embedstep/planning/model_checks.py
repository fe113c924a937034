"""What a request asks of its model, against what the model's files say. Needs no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedstep.data.hub import MODEL_OPTIONS, hub_guides, is_hub_id, local_model
from embedstep.data.model_facts import EMBEDDING, ModelFacts, read_model_facts
from embedstep.errors import Problem
from embedstep.output.adapters import saved_adapter
from embedstep.output.result import read_json_or_empty
from embedstep.planning.adapters import check_adapter, check_quantization
from embedstep.planning.architecture import check_architecture, matching, trained_sizes, with_changes
from embedstep.planning.losses import LOSSES
from embedstep.planning.module_checks import Built, follow_modules
from embedstep.planning.prompt_checks import prompts_are_named, routes_are_named
from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest

FLOAT32 = "float32"
PRECISIONS = (FLOAT32, "bfloat16", "float16", "float64")
"""Precisions that weights can be trained in."""
AUTO = "auto"
"""The precision that the model's files have."""
_PLACES = {
    "token": "pass the token as HF_TOKEN",
    "trust_remote_code": "write model.trust_remote_code",
    "revision": "write model.revision",
    "cache_dir": "set HF_HOME",
    "local_files_only": "models are fetched before the training",
    "device_map": "each process trains on its own device",
}
"""Arguments of `from_pretrained` that have another place."""
_OF_A_TRANSFORMER = ("model_kwargs", "processor_kwargs", "config_kwargs")
_FAMILIES = {
    "CrossEncoder": "a cross-encoder, which scores pairs of texts and embeds none",
    "SparseEncoder": "a sparse encoder, whose embeddings are weights of the vocabulary",
    "MultiVectorEncoder": "a multi-vector encoder (ColBERT), which embeds each token",
}


def read_facts(request: TrainRequest, fetched: str | None = None) -> ModelFacts | None:
    """Return what is known of the model that is trained; None for a static one and where its files are not here.

    Args:
        request: the request.
        fetched: folder of a model that was fetched from the hub.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: a file is not what its name says.
    """
    model = request.model
    return with_changes(model, _saved_facts(request, fetched), fetched, _built(model, fetched))


def _built(model: Model, fetched: str | None) -> Built | None:
    return follow_modules(model, fetched) if model.modules else None


def _saved_facts(request: TrainRequest, fetched: str | None) -> ModelFacts | None:
    folder = local_model(request.model, fetched)
    return None if folder is None else read_model_facts(folder)


def asked_precision(model: Model) -> str:
    """Return the precision that a request asks for: `auto`, or one of `PRECISIONS`."""
    asked = model.model_kwargs.get("dtype", model.model_kwargs.get("torch_dtype", FLOAT32))
    return str(asked).removeprefix("torch.")


def trained_precision(model: Model, facts: ModelFacts | None) -> str:
    """Return the precision that the weights are trained in."""
    asked = asked_precision(model)
    return asked if asked != AUTO else (facts.dtype if facts is not None and facts.dtype else FLOAT32)


def check_model(request: TrainRequest, fetched: str | None = None) -> Iterator[Problem]:
    """Yield every problem of the model.

    Args:
        request: the request.
        fetched: folder of a model that was fetched from the hub.
    """
    yield from loading_is_known(request)
    try:
        saved = _saved_facts(request, fetched)
        built = _built(request.model, fetched)
        facts = with_changes(request.model, saved, fetched, built)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield Problem("model.path", f"{fetched or request.model.path} cannot be read: {error}")
        return
    yield from attention_computes(request.model, facts)
    if facts is not None:
        yield from model_embeds(facts)
        yield from texts_have_positions(request, facts)
        yield from tokens_have_vectors(facts)
        yield from batches_can_be_padded(request, facts)
        yield from routes_are_named(request, facts)
    if facts is not None or request.model.path is None:
        yield from prompts_are_named(request, facts)
    yield from further_models_can_be_loaded(request)
    yield from decoders_exist(request, facts)
    yield from dimensions_fit(request, facts)
    yield from check_architecture(request.model, saved, fetched, built)
    yield from check_quantization(request.model)
    yield from base_is_the_same(request.model, fetched)
    if request.model.peft:
        yield from check_adapter(request.model, saved, fetched, trained_precision(request.model, saved))
    else:  # the names of an adapter's parameters are known when it is built
        yield from rates_match(request, trained_sizes(request.model, fetched, built))


def loading_is_known(request: TrainRequest) -> Iterator[Problem]:
    """Only what a plain script could pass to the same classes, and what has no other place in the request."""
    model = request.model
    for section in _OF_A_TRANSFORMER:
        given: Mapping[str, Any] = getattr(model, section)
        if given and model.static and model.initial_vectors == "random":
            yield Problem(f"model.{section}", "is for a transformer, and model.static builds a static embedding")
        for name in given.keys() & _PLACES.keys():
            yield Problem(f"model.{section}.{name}", f"has another place: {_PLACES[name]}")
    names = [name for name in ("dtype", "torch_dtype") if name in model.model_kwargs]
    if len(names) == 2:
        yield Problem("model.model_kwargs.torch_dtype", "is the older name of dtype; keep one of the two")
    for name in names:
        if str(model.model_kwargs[name]).removeprefix("torch.") not in (AUTO, *PRECISIONS):
            known = ", ".join((AUTO, *PRECISIONS))
            yield Problem(f"model.model_kwargs.{name}", f"is {model.model_kwargs[name]!r}; known are {known}")


def base_is_the_same(model: Model, fetched: str | None) -> Iterator[Problem]:
    """An adapter works only with the weights that it was trained on."""
    folder = local_model(model, fetched)
    adapter = saved_adapter(folder) if folder is not None else None
    if adapter is None:
        return
    if adapter.local_base is not None and (message := adapter.mismatch(adapter.local_base)):
        yield Problem("model.path", message)
    elif adapter.local_base is None and not is_hub_id(adapter.base):
        yield Problem("model.path", f"is an adapter of {adapter.base}, which is not on this machine")


def attention_computes(model: Model, facts: ModelFacts | None) -> Iterator[Problem]:
    """Flash attention has no kernel for float32, in which texts are embedded outside of the train steps."""
    if facts is None and asked_precision(model) == AUTO:
        return  # known once the model is fetched
    attention, precision = str(model.model_kwargs.get("attn_implementation")), trained_precision(model, facts)
    if "flash" in attention and precision not in ("bfloat16", "float16"):
        message = f"is {attention}, which computes in bfloat16 or float16, and the weights are {precision}"
        yield Problem(
            "model.model_kwargs.attn_implementation",
            f"{message}; write dtype: bfloat16 next to it, or sdpa in its place",
        )


def model_embeds(facts: ModelFacts) -> Iterator[Problem]:
    """The model is of the family that this step trains; another would lose its head in silence."""
    if facts.family != EMBEDDING:
        kind = _FAMILIES.get(facts.family, f"a {facts.family}")
        head = f" ({facts.architecture})" if facts.architecture and facts.is_bare else ""
        yield Problem("model.path", f"is {kind}{head}; embedstep trains models that give one dense vector for a text")


def texts_have_positions(request: TrainRequest, facts: ModelFacts) -> Iterator[Problem]:
    """A text longer than the table of positions would fail in training with an index error."""
    if facts.max_tokens is None:
        return
    asked, own = request.model.max_seq_length, facts.max_seq_length
    if asked is not None and asked > facts.max_tokens:
        yield Problem("model.max_seq_length", f"is {asked}, and the model has positions for {facts.max_tokens} tokens")
    elif asked is None and own is not None and own > facts.max_tokens:
        message = f"is {own} in the model's files, which have positions for {facts.max_tokens} tokens"
        yield Problem("model.max_seq_length", f"{message}; write {facts.max_tokens}")


def tokens_have_vectors(facts: ModelFacts) -> Iterator[Problem]:
    """A token without a row in the table of embeddings would fail in training with an index error."""
    if facts.tokens is not None and facts.vocabulary is not None and facts.tokens > facts.vocabulary:
        yield Problem(
            "model.path",
            f"has a tokenizer with ids up to {facts.tokens - 1}, and vectors for {facts.vocabulary} tokens; "
            "call resize_token_embeddings(len(tokenizer)) and save the model again",
        )


def batches_can_be_padded(request: TrainRequest, facts: ModelFacts) -> Iterator[Problem]:
    """Texts of a batch are padded to one length."""
    if "Transformer" in facts.modules and not facts.pads and "pad_token" not in request.model.processor_kwargs:
        yield Problem(
            "model.path",
            "has a tokenizer without a token to pad with; name one of its tokens: "
            "model.processor_kwargs: {pad_token: ...}",
        )


def rates_match(request: TrainRequest, sizes: Mapping[str, object] | None) -> Iterator[Problem]:
    """Each pattern of `learning_rate_mapping` matches a parameter; the worker says so where names are not known here.

    Args:
        request: the request.
        sizes: parameters of the model by their names in a loss; None where its files do not say.
    """
    has_layers = any(each.kind not in LOSSES or LOSSES[each.kind].loss_parameters for _, each in request.losses())
    if not sizes or has_layers:
        return
    # With several datasets, the trainer puts the name of the first one before each parameter.
    names = {f"{next(iter(request.data.train))}.{name}": 0 for name in sizes} if len(request.data.train) > 1 else sizes
    for pattern in request.arguments.learning_rate_mapping:
        if matching(pattern, names) == []:
            message = f"matches no parameter; names are such as {next(iter(names))}"
            yield Problem(f"arguments.learning_rate_mapping.{pattern}", message)


def further_models_can_be_loaded(request: TrainRequest) -> Iterator[Problem]:
    """A model that a loss reads is a folder, or on the hub; nodes do not share the cache that it is fetched to."""
    on_hub, nodes = dict(hub_guides(request)), request.launch.nodes
    for place, source in on_hub.items():
        if nodes > 1:
            yield Problem(place, f"{source} is fetched on one of {nodes} nodes only; save it, and name its folder")
    for path, loss in request.losses():
        for option in MODEL_OPTIONS:
            given, place = loss.options.get(option), f"{path}.options.{option}"
            if isinstance(given, str) and place not in on_hub and not Path(given).expanduser().is_dir():
                yield Problem(place, f"{given} is neither a folder nor the id of a model on the hub")


_DECODERS = (
    "BertGeneration", "Bert", "BigBird", "Camembert", "Electra", "Ernie", "GPT2", "GPTBigCode", "MegatronBert",
    "ProphetNet", "RemBert", "RobertaPreLayerNorm", "Roberta", "RoCBert", "RoFormer", "XGLM", "XLMRobertaXL",
    "XLMRoberta", "Xmod",
)  # fmt: skip
"""Begins of the classes of transformers that attend to an embedding as decoders (`add_cross_attention`)."""


def decodes(architecture: str) -> bool:
    """Whether transformers has a decoder of an architecture, such as `BertModel`, which can read an embedding."""
    return any(
        architecture.startswith(name) and architecture[len(name) :].startswith(_ENDS_OF_CLASSES) for name in _DECODERS
    )


_ENDS_OF_CLASSES = ("Model", "For", "LMHead", "Encoder", "Decoder")


def decoders_exist(request: TrainRequest, facts: ModelFacts | None) -> Iterator[Problem]:
    """The denoising auto-encoder needs a decoder: that of the model's own architecture, or a named one."""
    for path, loss in request.losses():
        if loss.kind not in ("denoising_auto_encoder", "DenoisingAutoEncoderLoss"):
            continue
        named = loss.options.get("decoder_name_or_path")
        for field in ("layers", "freeze", "peft"):
            if named is None and getattr(request.model, field):
                message = "is undone by a tied decoder, whose weights become those of the model"
                yield Problem(f"model.{field}", f"{message}; write tie_encoder_decoder: false in {path}.options")
        folder = Path(str(named)).expanduser()
        architecture = facts.architecture if facts is not None and named is None else ""
        if named is not None and (folder / "config.json").is_file():
            listed = read_json_or_empty(folder / "config.json").get("architectures")
            architecture = str(next(iter(listed or ()), ""))
        if architecture and not decodes(architecture):
            yield Problem(
                f"{path}.options.decoder_name_or_path",
                f"{'is missing: ' if named is None else ''}transformers has no decoder for {architecture}; name a "
                "model such as BERT or GPT-2 whose hidden size is that of the model, with tie_encoder_decoder: "
                "false",
            )


def dimensions_fit(request: TrainRequest, facts: ModelFacts | None) -> Iterator[Problem]:
    """No dimension is asked for that the embeddings do not have."""
    width = request.model.dimension or (facts.dimension if facts else None)
    if width is None:
        return
    if request.model.truncate_dim is not None and request.model.truncate_dim > width:
        yield Problem("model.truncate_dim", f"is {request.model.truncate_dim}, and embeddings have {width} dimensions")
    for path, each in request.losses():
        given = each.options.get("matryoshka_dims")
        dims = given if isinstance(given, list) else []
        if each.kind in LOSSES and (wider := [dim for dim in dims if isinstance(dim, int) and dim > width]):
            listed = ", ".join(map(str, wider))
            yield Problem(f"{path}.options.matryoshka_dims", f"has {listed}, and embeddings have {width} dimensions")
