"""What the files of a model say of it, read without torch: family, modules, precision, size and limits.

Of the weights only the headers are read, so that a model of many gigabytes takes milliseconds.
"""

import json
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from embedstep.output.adapters import SavedAdapter, saved_adapter, transformer_folder, weights_folder
from embedstep.output.result import read_json, read_json_or_empty
from embedstep.output.weights import listed_modules, module_settings

UNLIMITED = 10**20
"""Limit in tokens that transformers takes for no limit (its `LARGE_INTEGER`)."""
EMBEDDING = "SentenceTransformer"
"""The family of models that embed a text in one dense vector."""
TWO_TOWERS = ("clip", "siglip", "siglip2", "chinese_clip", "altclip", "align")
"""Types of models that embed texts and images, each by a transformer of its own, and give no token embeddings."""
_TEXT_TOWER = "text_model.embeddings."
_POSITIONS = (
    "position_embeddings.weight",
    "embed_positions.weight",
    "wpe.weight",
    f"{_TEXT_TOWER}position_embedding.weight",
)
_VOCABULARY = (
    "word_embeddings.weight",
    "embed_tokens.weight",
    "tok_embeddings.weight",
    "wte.weight",
    f"{_TEXT_TOWER}token_embedding.weight",
)
"""Ends of the names that tensors of learned positions and of tokens have in the models of transformers."""
_FIRST_POSITION_FOLLOWS_PAD = {
    "roberta",
    "xlm-roberta",
    "camembert",
    "xlm-roberta-xl",
    "longformer",
    "mpnet",
    "data2vec-text",
}
"""Model types whose positions begin after the index of the pad token, so that as many rows of the table go unused."""
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_DECODERS = re.compile(
    r"gpt|opt$|bloom|llama|mi[sx]tral|ministral|qwen[23](?!.*(vl|omni))|gemma|phi|falcon|olmo|stablelm|starcoder|cohere"
    r"|granite|smollm|mpt$|codegen|xglm|biogpt|lfm|glm|deepseek|exaone|ctrl"
)
"""Model types in which a token sees only those before it."""
_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
_MOST_HEADER_BYTES = 100 * 2**20
"""The format's own limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What the files of a model say.

    Attributes:
        family: class of sentence-transformers that the model was saved by, or that its classification head belongs to.
        modules: class of each module in order; a module of another package by its full name.
        architecture: class of transformers, such as `BertModel`; empty without a transformer.
        dtype: precision of most weights, such as `bfloat16`; empty where the files do not say.
        parameters: number of parameters; None where the files do not say.
        trainable: number of parameters that train; None where the files do not say.
        pooling: pooling modes, joined by `+`; empty where there is no pooling or none is saved.
        is_bare: whether it is a transformer without modules of sentence-transformers, to which pooling is added.
        is_decoder: whether sentence-transformers adds pooling of the last token to it, in place of the mean.
        is_causal: whether each token sees only those before it, so that the first and the mean say little.
        model_type: type of the transformer, such as `bert`; empty without one.
        layers: layers of the transformer; None where the files do not say.
        token_dimension: dimension of its token embeddings; None where the files do not say.
        max_tokens: most tokens of a text for which it has positions; None where they are not a table.
        max_seq_length: its own limit in tokens; None without one.
        vocabulary: rows of the table of token embeddings.
        tokens: number that the highest token id of the tokenizer needs.
        pads: whether the tokenizer has a token to pad with.
        dimension: dimension of its embeddings; None where the files do not say.
        routes: names of the routes of a Router; empty where it chooses them by its own mapping, too.
        prompts: prompts by name, without empty ones.
        default_prompt_name: name of the prompt that it uses where none is named.
        similarity: its similarity function.
        adapter_of: the model that it is an adapter of; empty for a model with its own weights.
    """

    family: str = EMBEDDING
    modules: tuple[str, ...] = ()
    architecture: str = ""
    dtype: str = ""
    parameters: int | None = None
    trainable: int | None = None
    pooling: str = ""
    is_bare: bool = False
    is_decoder: bool = False
    is_causal: bool = False
    model_type: str = ""
    layers: int | None = None
    token_dimension: int | None = None
    max_tokens: int | None = None
    max_seq_length: int | None = None
    vocabulary: int | None = None
    tokens: int | None = None
    pads: bool = True
    dimension: int | None = None
    routes: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str = "cosine"
    adapter_of: str = ""


def read_model_facts(folder: Path) -> ModelFacts:
    """Read what the files of a saved model say.

    Args:
        folder: a folder that sentence-transformers or transformers has saved.

    Raises:
        ValueError: a file is not what its name says, such as JSON that is cut off.
    """
    settings = read_json_or_empty(folder / "config_sentence_transformers.json")
    listed = listed_modules(folder)
    modules = tuple(class_name(str(module["type"])) for module in listed)
    first = transformer_folder(folder)
    adapter = saved_adapter(folder)
    outer = read_json_or_empty(weights_folder(first) / "config.json")
    config = {**outer, **outer.get("text_config", {})}  # of models that read images, too
    tensors = list(floating_tensors(_weights(folder, adapter)))
    architecture = next(iter(config.get("architectures") or ()), "")
    is_decoder = architecture.endswith("ForCausalLM") and config.get("is_causal", True)
    has_two_towers = outer.get("model_type") in TWO_TOWERS
    has_head = not listed and architecture.endswith(_HEADS)
    return ModelFacts(
        family=str(settings.get("model_type") or ("CrossEncoder" if has_head else EMBEDDING)),
        modules=modules or (("Transformer",) if config else ()),
        architecture=architecture,
        dtype=_most_common(tensors) or str(config.get("dtype") or config.get("torch_dtype") or ""),
        parameters=sum(prod(shape) for _, _, shape in tensors) or None,
        pooling=_pooling(folder, listed),
        is_bare=not listed and bool(config) and not has_two_towers,
        is_decoder=is_decoder,
        is_causal=is_decoder or _is_causal(config),
        model_type=str(outer.get("model_type") or ""),
        layers=next((int(config[name]) for name in _LAYERS if isinstance(config.get(name), int)), None),
        token_dimension=None if has_two_towers else _token_dimension(config),
        max_tokens=_max_tokens(config, tensors),
        max_seq_length=None if (limit := own_limit(first, config)) >= UNLIMITED else limit,
        vocabulary=_rows(tensors, _VOCABULARY),
        tokens=_needed_rows(first / "tokenizer.json"),
        pads=_pads(first),
        dimension=_dimension(
            folder, listed, outer.get("projection_dim") if has_two_towers else _token_dimension(config), tensors
        ),
        routes=_routes(first),
        prompts={name: text for name, text in (settings.get("prompts") or {}).items() if text},
        default_prompt_name=settings.get("default_prompt_name"),
        similarity=str(settings.get("similarity_fn_name") or "cosine"),
        adapter_of=adapter.base if adapter else "",
    )


def _weights(folder: Path, adapter: SavedAdapter | None) -> Iterator[Path]:
    """Yield the files with the weights of a saved model; for an adapter, those of its base in place of its own."""
    for file in folder.rglob("*.safetensors"):
        if adapter is None or file.parent != adapter.folder:
            yield file
    if adapter is not None and adapter.local_base is not None:
        yield from transformer_folder(adapter.local_base).glob("*.safetensors")


def _routes(router: Path) -> tuple[str, ...]:
    settings = read_json_or_empty(router / "router_config.json")
    is_mapped = settings.get("parameters", {}).get("route_mappings")
    return () if is_mapped else tuple(settings.get("structure", {}))


def _is_causal(config: Mapping[str, Any]) -> bool:
    is_bidirectional = config.get("use_bidirectional_attention") or config.get("is_causal") is False
    return _DECODERS.match(str(config.get("model_type"))) is not None and not is_bidirectional


def _token_dimension(config: Mapping[str, Any]) -> int | None:
    width = config.get("hidden_size") or config.get("n_embd") or config.get("dim") or config.get("d_model")
    return int(width) if width else None


def class_name(type_name: str) -> str:
    """Return the class name of a module of sentence-transformers, whose packages differ between releases."""
    package, _, name = type_name.rpartition(".")
    return name if package.startswith("sentence_transformers.") else type_name


Tensor = tuple[str, str, tuple[int, ...]]
"""Name, precision as safetensors names it, and shape."""


def floating_tensors(files: Iterable[Path]) -> Iterator[Tensor]:
    """Yield the floating-point tensors of safetensors files, from their headers."""
    for file in sorted(files):
        for name, entry in _header(file).items():
            if name != "__metadata__" and entry["dtype"] in _DTYPES:
                yield name, entry["dtype"], tuple(entry["shape"])


def _header(file: Path) -> Mapping[str, Any]:
    """Return the header of a safetensors file, which begins with its length in 8 bytes.

    The package safetensors would read it too, but a machine that only submits jobs does not have it.
    """
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8).ljust(8, b"\0"))
        if not 0 < length <= min(_MOST_HEADER_BYTES, file.stat().st_size - 8):
            raise ValueError(f"{file} is not a safetensors file, or was cut off")
        header: Mapping[str, Any] = json.loads(opened.read(length))
    return header


def _most_common(tensors: list[Tensor]) -> str:
    """Return the precision of most parameters."""
    counted: Counter[str] = Counter()
    for _, dtype, shape in tensors:
        counted[_DTYPES[dtype]] += prod(shape)
    return max(counted, key=counted.__getitem__, default="")


def _rows(tensors: list[Tensor], ends: tuple[str, ...]) -> int | None:
    return next((shape[0] for name, _, shape in tensors if name.endswith(ends) and len(shape) == 2), None)


def _max_tokens(config: Mapping[str, Any], tensors: list[Tensor]) -> int | None:
    """Return for how many tokens there are learned positions; rotary and relative positions are not a table."""
    rows = _rows(tensors, _POSITIONS)
    if rows is None:
        return None
    if config.get("model_type") in _FIRST_POSITION_FOLLOWS_PAD:
        return rows - int(config.get("pad_token_id") or 0) - 1
    return rows


def own_limit(folder: Path, config: Mapping[str, Any]) -> int:
    """Return the limit in tokens that a transformer's files set: `max_seq_length`, else tokenizer and positions.

    Args:
        folder: folder of the module.
        config: its `config.json`.
    """
    written: int | None = read_json_or_empty(folder / "sentence_bert_config.json").get("max_seq_length")
    if written is not None:
        return written
    positions = config.get("max_position_embeddings", UNLIMITED)
    limit = int(read_json_or_empty(folder / "tokenizer_config.json").get("model_max_length", UNLIMITED))
    return min(limit, UNLIMITED if positions == -1 else positions)


def _needed_rows(file: Path) -> int | None:
    """Return how many rows a table of token embeddings needs for a tokenizer."""
    return _count_tokens(file, file.stat().st_mtime_ns) if file.is_file() else None


@lru_cache(maxsize=8)  # of many languages it is 17 MB of JSON, and both a check and a plan ask
def _count_tokens(file: Path, modified: int) -> int:
    found = read_json(file)
    vocabulary = found["model"].get("vocab") or {}
    ids = vocabulary.values() if isinstance(vocabulary, Mapping) else range(len(vocabulary))
    added = (int(token["id"]) for token in found.get("added_tokens") or ())
    return 1 + max(max(ids, default=-1), max(added, default=-1))


def _pads(folder: Path) -> bool:
    """Whether the tokenizer has a token to pad with; true where no file says."""
    files = [read_json_or_empty(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json")]
    return not any(files) or any(file.get("pad_token") for file in files)


def _pooling(folder: Path, listed: list[Mapping[str, Any]]) -> str:
    for module in listed:
        if class_name(str(module["type"])) == "Pooling":
            return "+".join(_modes(module_settings(folder / str(module["path"]))))
    return ""


def _modes(pooling: Mapping[str, Any]) -> list[str]:
    modes = pooling.get("pooling_mode", "mean")
    return [modes] if isinstance(modes, str) else modes


def _dimension(folder: Path, listed: list[Mapping[str, Any]], width: int | None, tensors: list[Tensor]) -> int | None:
    """Return the width that the last module which changes it gives, from that of the first."""
    for module in listed:
        kind, inside = class_name(str(module["type"])), folder / str(module["path"])
        saved = read_json_or_empty(inside / "config.json")
        if kind == "StaticEmbedding":
            width = next((shape[1] for name, _, shape in tensors if name == "embedding.weight"), None)
        elif kind == "Pooling":
            saved = module_settings(inside)
            each = saved.get("embedding_dimension") or width
            width = each * len(_modes(saved)) if each else None
        elif kind == "Dense":
            width = saved.get("out_features", width)
    return int(width) if width else None
