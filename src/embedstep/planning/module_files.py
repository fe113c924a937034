"""What the files of modules say: dimensions, parameters and vocabularies, read without torch."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from embedstep.data.model_facts import TWO_TOWERS, ModelFacts, floating_tensors, read_model_facts
from embedstep.data.parameters import transformer_parameters
from embedstep.output.result import read_json, read_json_or_empty
from embedstep.output.weights import listed_modules

_TOKENIZER = "tokenizer.json"
_EMBEDDING = "embedding.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the files of a module say.

    Attributes:
        width: dimension of its embeddings; None where the files do not say.
        parameters: number of values by the names of its parameters; None where the files do not say.
        layers: layers of a transformer.
        tokens: number of tokens of its tokenizer.
        facts: what the files of a transformer say.
    """

    width: int | None = None
    parameters: Mapping[str, int | None] | None = None
    layers: int | None = None
    tokens: int | None = None
    facts: ModelFacts | None = None


def transformer(values: Mapping[str, Any], source: Path | None) -> Found:
    """Read the transformer of a model: the first module of a model that sentence-transformers has saved.

    Raises:
        ValueError: there is none.
    """
    if source is None:
        return Found()
    facts = _transformer_facts(source)
    if facts.model_type in TWO_TOWERS:
        raise ValueError(f"{source} is a {facts.model_type} model, which gives a sentence embedding; write clip")
    return _found(facts, source, facts.token_dimension)


def clip(values: Mapping[str, Any], source: Path | None) -> Found:
    """Read a model that embeds texts and images.

    Raises:
        ValueError: it is another.
    """
    if source is None:
        return Found()
    facts = _transformer_facts(source)
    if facts.model_type not in TWO_TOWERS:
        raise ValueError(f"{source} is a {facts.model_type} model, and no CLIP; write transformer, and then pooling")
    return _found(facts, source, read_json(module_folder(source) / "config.json").get("projection_dim"))


def _found(facts: ModelFacts, source: Path, width: int | None) -> Found:
    parameters = transformer_parameters(module_folder(source))
    return Found(width=width, parameters=parameters or None, layers=facts.layers, tokens=facts.tokens, facts=facts)


def _transformer_facts(source: Path) -> ModelFacts:
    if not source.is_dir():
        raise ValueError(f"{source} is not a folder on this machine{_hub_hint(source)}")
    facts = read_model_facts(source)
    first = next(iter(facts.modules), "")
    if first not in ("Transformer", "CLIPModel"):
        raise ValueError(f"{source} holds no transformer{f', its first module is {first}' if first else ''}")
    return facts


def _hub_hint(source: Path) -> str:
    """Say how a model on the hub is named, after what may be the id of one."""
    return "; a model on the hub can be model.path, download others" if len(source.parts) == 2 else ""


def module_folder(source: Path) -> Path:
    """Return the folder of the first module of a saved model."""
    listed = listed_modules(source)
    return source / str(listed[0]["path"]) if listed else source


def static_embedding(values: Mapping[str, Any], source: Path | None) -> Found:
    """Read the vocabulary of a static embedding and, without `embedding_dim`, its vectors.

    Raises:
        ValueError: there is no tokenizer, or there are no vectors.
    """
    if source is None:
        return Found()
    if not source.exists():
        raise ValueError(f"{source} is not a folder or file on this machine{_hub_hint(source)}")
    width = values["embedding_dim"]
    file = source if source.is_file() else module_folder(source) / _TOKENIZER
    if not file.is_file():
        raise ValueError(f"{source} holds no {_TOKENIZER}")
    if width is not None:
        rows = len(read_vocabulary(file))
        return Found(width=width, parameters={_EMBEDDING: rows * width}, tokens=rows)
    if source.is_file():
        raise ValueError(f"{source} is a tokenizer and holds no vectors; give embedding_dim for random ones")
    shape = _vectors(source)
    return Found(width=shape[1], parameters={_EMBEDDING: prod(shape)}, tokens=shape[0])


def has_static_vectors(source: Path) -> bool:
    """Whether a folder holds a static embedding, and not a transformer whose word embeddings become one."""
    names = [name for name, _, _ in floating_tensors(module_folder(source).glob("*.safetensors"))]
    return _EMBEDDING in names


def _vectors(source: Path) -> tuple[int, ...]:
    """Return the shape of the vectors of a static embedding, or of the word embeddings of a transformer."""
    facts = read_model_facts(source)
    for name, _, shape in floating_tensors(module_folder(source).glob("*.safetensors")):
        if name == _EMBEDDING:
            return shape
    if facts.vocabulary is None or facts.token_dimension is None:
        raise ValueError(f"{source} holds neither a static embedding nor a transformer; give embedding_dim")
    return facts.vocabulary, facts.token_dimension


def word_vectors(values: Mapping[str, Any], source: Path | None) -> Found:
    """Read the dimension of the first vector of a text file with a word and its vector on each line.

    Raises:
        ValueError: the file is missing, or is of another kind.
    """
    if source is None or not source.is_file():
        raise ValueError(f"{source or 'it'} is not a file of words and their vectors on this machine")
    opener: Any = gzip.open if source.suffix == ".gz" else open
    with opener(source, "rt", encoding="utf-8") as lines:
        items = next(lines, "").rstrip().split(values["item_separator"])
        if len(items) == 2:  # the header of word2vec's format
            items = next(lines, "").rstrip().split(values["item_separator"])
    try:
        width = len([float(item) for item in items[1:]])
    except ValueError:
        width = 0
    if not width:
        raise ValueError(f"{source} does not hold a word and its vector on each line")
    return Found(width=width, parameters={"emb_layer.weight": None})


def count_words(values: Mapping[str, Any], source: Path | None) -> Found:
    """Count the words of a bag of words.

    Raises:
        ValueError: their file is missing or empty.
    """
    return Found(width=len(set(read_words(values["vocab"]))), parameters={})


def read_words(given: str | list[str]) -> list[str]:
    """Return the words of an option: themselves, or the lines of a text file.

    Raises:
        ValueError: the file is missing or empty.
    """
    if not isinstance(given, str):
        return given
    file = Path(given).expanduser()
    if not file.is_file():
        raise ValueError(f"{file} is not a file on this machine")
    found = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not found:
        raise ValueError(f"{file} holds no words")
    return found


def read_weights(given: str | Mapping[str, float]) -> dict[str, float]:
    """Return the weights of an option: themselves, or the contents of a JSON file.

    Raises:
        ValueError: the file is missing, or is of another kind.
    """
    if not isinstance(given, str):
        return dict(given)
    file = Path(given).expanduser()
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
        raise ValueError(f"{file} is not a JSON file with a number for each word")
    return {word: float(value) for word, value in found.items()}


def read_vocabulary(file: Path) -> list[str]:
    """Return the tokens of a `tokenizer.json`, with those that were added to it."""
    found = read_json_or_empty(file)
    vocabulary = found["model"].get("vocab") or {}
    tokens = list(vocabulary) if isinstance(vocabulary, dict) else [token for token, _ in vocabulary]
    return list(dict.fromkeys([*tokens, *(token["content"] for token in found.get("added_tokens") or ())]))
