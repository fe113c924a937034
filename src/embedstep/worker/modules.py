"""Builds the modules of a request from the rows that have checked them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer import modules as library
from tokenizers import Tokenizer

from embedstep.errors import InvalidRequestError
from embedstep.planning.module_files import has_static_vectors, read_weights, read_words
from embedstep.planning.modules import ModuleKind, module_kind
from embedstep.request.extensions import is_reference, load
from embedstep.request.model import Module
from embedstep.request.options import option_values

Values = dict[str, Any]
_ALL_LAYERS = "weighted_layer_pooling"


@dataclass(frozen=True, kw_only=True)
class ModuleBuilder:
    """Builds modules, each with the dimension that the one before it gives.

    Attributes:
        base: folder of the model that modules without a path of their own are built from.
        load: loads the first module of a saved model from its folder, with arguments of its configuration.
        tokenizer: reads a fast tokenizer from a folder or file.
        word_embeddings: reads the word embeddings of a transformer as a numpy array.
    """

    base: str
    load: Callable[[str, Mapping[str, Any]], torch.nn.Module]
    tokenizer: Callable[[str], Tokenizer]
    word_embeddings: Callable[[str], Any]

    def build(self, modules: Sequence[Module]) -> list[torch.nn.Module]:
        """Build checked modules.

        Raises:
            InvalidRequestError: a class refuses its options, or cannot be imported.
        """
        built: list[torch.nn.Module] = []
        for place, module in enumerate(modules):
            kind = module_kind(module.kind)
            following = modules[place + 1].kind if place + 1 < len(modules) else ""
            try:
                built.append(self._module(kind, module, built, following))
            except (ValueError, TypeError, OSError, AssertionError) as error:
                raise InvalidRequestError.at("model.modules", f"{kind.name} cannot be built: {error}") from error
        return built

    def _module(
        self, kind: ModuleKind, module: Module, built: Sequence[torch.nn.Module], following: str
    ) -> torch.nn.Module:
        values = option_values(kind.options, module.options)
        if kind.input_width:
            values[kind.input_width] = _width(built)
        if is_reference(kind.class_name):
            return _instance(load(kind.class_name), values)
        match kind.name:
            case "transformer" | "clip":
                # A layer of weights that gets no outputs of all layers would do nothing, and not say so.
                config = {"output_hidden_states": True} if following and _is_named(following, _ALL_LAYERS) else {}
                return self._transformer(values, config)
            case "static_embedding":
                return self._static_embedding(values)
            case "word_embeddings":
                return _word_embeddings(values)
            case "router":
                routes = module.routes or {}
                return library.Router({name: self.build(route) for name, route in routes.items()}, **values)
        return _instance(getattr(library, kind.class_name), values | _filled(kind.name, values, built))

    def _transformer(self, values: Values, config: Mapping[str, Any]) -> torch.nn.Module:
        found = self.load(_path(values) or self.base, config)
        if (limit := values.get("max_seq_length")) is not None:
            found.max_seq_length = limit
        return found

    def _static_embedding(self, values: Values) -> torch.nn.Module:
        source = _path(values) or self.base
        width = values.get("embedding_dim")
        if width is not None:
            return library.StaticEmbedding(self.tokenizer(source), embedding_dim=width)
        if has_static_vectors(Path(source)):
            return self.load(source, {})
        return library.StaticEmbedding(self.tokenizer(source), embedding_weights=self.word_embeddings(source))


def _filled(name: str, values: Values, built: Sequence[torch.nn.Module]) -> Values:
    """Return the arguments that come from files and from the modules before, and those that are classes."""
    found: Values = {}
    if "vocab" in values:
        found["vocab"] = read_words(values["vocab"])
    if "word_weights" in values:
        found["word_weights"] = read_weights(values["word_weights"])
    if "activation_function" in values:
        found["activation_function"] = getattr(torch.nn, values["activation_function"] or "Identity")()
    if name == "word_weights":
        found["vocab"] = _vocabulary(built[0])
    if name == _ALL_LAYERS:
        found["num_hidden_layers"] = built[0].config.num_hidden_layers
    return found


def _instance(kind: Callable[..., torch.nn.Module], values: Values) -> torch.nn.Module:
    return kind(**values)


def _is_named(name: str, kind: str) -> bool:
    return module_kind(name).name == kind


def _path(values: Values) -> str | None:
    return None if values.get("path") is None else str(Path(values["path"]).expanduser())


def _word_embeddings(values: Values) -> torch.nn.Module:
    options = {name: value for name, value in values.items() if name != "path"}
    return library.WordEmbeddings.from_text_file(str(_path(values)), **options)


def _width(built: Sequence[torch.nn.Module]) -> int:
    """Return the dimension that the modules so far give; some, such as a dropout, leave it as it is and do not say."""
    said = (module for module in reversed(built) if hasattr(module, "get_embedding_dimension"))
    return int(next(said).get_embedding_dimension())


def _vocabulary(first: torch.nn.Module) -> list[str]:
    """Return the tokens of a module's tokenizer, each at the place of its id."""
    vocabulary = first.tokenizer.get_vocab()
    if not isinstance(vocabulary, Mapping):
        return list(vocabulary)
    tokens = [""] * (1 + max(vocabulary.values()))
    for token, number in vocabulary.items():
        tokens[number] = token
    return tokens
