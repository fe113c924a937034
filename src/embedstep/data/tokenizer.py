"""Find the tokenizer of a request's model in its files, without loading the model.

A run of several epochs tokenizes its texts once, before training. The cache has a key of everything that the token ids
depend on. Each rank computes that key from the model that it has loaded, so it never uses ids of another tokenizer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from embedstep.data.model_facts import UNLIMITED, class_name, own_limit
from embedstep.data.tokens import TokenIds, TokenizerSettings, cache_tokens, cached_tokens
from embedstep.output.result import read_json_or_empty
from embedstep.output.weights import listed_modules
from embedstep.request.model import Model

MODEL_NOT_LOCAL = "the model is not on this machine"


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """The tokenizer file of a model.

    Attributes:
        file: `tokenizer.json`.
        is_static: whether the model is a static embedding, which has no special tokens and only the file's limit.
        truncates: whether long texts are truncated.
        limit: maximum number of tokens of a text for a transformer, or None.
        side: the side at which a transformer truncates.
    """

    file: Path
    is_static: bool
    truncates: bool = True
    limit: int | None = None
    side: str = "right"

    def read(self) -> TokenizerSettings:
        """Read the tokenizer and its settings."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.file))
        truncation = tokenizer.truncation if self.is_static else truncation_settings(self.limit, self.side)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return TokenizerSettings(
            tokenizer=tokenizer.to_str(),
            truncation=truncation if self.truncates else None,
            special_tokens=not self.is_static,
        )


def truncation_settings(limit: int | None, side: str) -> dict[str, Any] | None:
    """Return the truncation that transformers sets on a fast tokenizer for single texts, or None for no limit."""
    if limit is None or limit >= UNLIMITED:
        return None
    return {"max_length": limit, "stride": 0, "strategy": "longest_first", "direction": side}


def find_tokenizer(model: Model, source: Path | None) -> TokenizerFile | str:
    """Find the tokenizer file of a model, or return the reason why only the model itself can tokenize.

    Args:
        model: section of the request.
        source: the model's local folder or file, or None.
    """
    if find_spec("tokenizers") is None:
        return "the package tokenizers is not installed"
    if source is None or not source.exists():
        return MODEL_NOT_LOCAL
    if model.trust_remote_code:
        return "the model may have its own code (model.trust_remote_code)"
    if model.modules:
        first = model.modules[0]
        if first.kind not in ("transformer", "Transformer") or first.options.keys() - {"path"}:
            return f"model.modules begins with {first.kind}, whose tokenizer is known once the model is built"
        own = first.options.get("path")
        source = source if own is None else Path(str(own)).expanduser()
    if model.static:
        file = source if source.is_file() else source / "tokenizer.json"
        return _if_present(TokenizerFile(file=file, is_static=True, truncates=False))
    kind, folder = _first_module(source)
    if kind == "StaticEmbedding":
        return _if_present(TokenizerFile(file=folder / "tokenizer.json", is_static=True))
    if kind != "Transformer":
        return f"the model's first module is {kind}, which preprocesses texts itself"
    settings = read_json_or_empty(folder / "tokenizer_config.json")
    return _if_present(
        TokenizerFile(
            file=folder / "tokenizer.json",
            is_static=False,
            limit=model.max_seq_length or own_limit(folder, read_json_or_empty(folder / "config.json")),
            side=settings.get("truncation_side", "right"),
        )
    )


def _if_present(found: TokenizerFile) -> TokenizerFile | str:
    return found if found.file.is_file() else "the model has no tokenizer.json"


def _first_module(source: Path) -> tuple[str, Path]:
    """Return the class and folder of a model's first module; a model saved by transformers is a Transformer."""
    listed = listed_modules(source)
    if not listed:
        return "Transformer", source
    return class_name(str(listed[0]["type"])), source / str(listed[0]["path"])


@dataclass(frozen=True)
class TokenCache:
    """The token ids of prepared rows, cached in files next to the rows.

    Attributes:
        read: returns the tokenizer, or None if it is more than a fast tokenizer; called at most once.
        prompts: prompt of each column by dataset and column.
    """

    read: Callable[[], TokenizerSettings | None]
    prompts: Mapping[str, Mapping[str, str]]

    @cached_property
    def _tokenizing(self) -> TokenizerSettings | None:
        return self.read()

    def prompt(self, dataset: str, column: str) -> str | None:
        """Return the prompt of a column."""
        return self.prompts.get(dataset, {}).get(column)

    def ids(self, dataset: str, path: Path, rows: str, column: str) -> TokenIds:
        """Return the token ids of a column from the cache, or add them to it.

        Args:
            dataset: name of the dataset.
            path: Arrow IPC stream file of the prepared rows.
            rows: digest of the rows.
            column: name of the column.

        Raises:
            CannotStartError: the disk is full.
        """
        how, prompt = self._tokenizing, self.prompt(dataset, column)
        assert how is not None, "the caller has found a tokenizer"
        return cache_tokens(path, column, how.key(rows, column, prompt), how, prompt)

    def kept(self, dataset: str, path: Path, rows: str, column: str) -> TokenIds | None:
        """Return the cached token ids of a column, or None; the parameters are those of `ids`."""
        how = self._tokenizing
        return None if how is None else cached_tokens(path, how.key(rows, column, self.prompt(dataset, column)))
