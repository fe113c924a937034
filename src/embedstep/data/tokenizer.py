"""How the model of a request turns texts into token ids, read from its files without a library of models.

A run that sees its texts more than once tokenizes them once, before the training. Each rank works out from the model
that it has loaded what the token ids depend on, and takes only ids that were kept for exactly that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from embedstep.data.tokens import TokenIds, Tokenizing, keep_tokens, kept_tokens
from embedstep.output.result import read_json
from embedstep.request.schema import Model, TrainRequest

Prompts = str | Mapping[str, Any] | None
NOT_HERE = "the model is not on this machine"
UNLIMITED = 10**20
"""Most tokens of a text from which transformers takes a tokenizer to have no limit (its `LARGE_INTEGER`)."""


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """The tokenizer of a model, in a file.

    Attributes:
        file: `tokenizer.json`.
        is_static: whether the model is a static embedding: no special tokens, and no other limit than the file's.
        cuts: whether texts are cut.
        limit: most tokens of a text for a transformer, or None.
        side: the end that a transformer's long texts are cut at.
    """

    file: Path
    is_static: bool
    cuts: bool = True
    limit: int | None = None
    side: str = "right"

    def read(self) -> Tokenizing:
        """Return how texts are tokenized."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.file))
        truncation = tokenizer.truncation if self.is_static else truncation_of(self.limit, self.side)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return Tokenizing(
            tokenizer=tokenizer.to_str(),
            truncation=truncation if self.cuts else None,
            special_tokens=not self.is_static,
        )


def truncation_of(limit: int | None, side: str) -> dict[str, Any] | None:
    """Return how transformers lets a fast tokenizer cut single texts, or None where it does not."""
    if limit is None or limit >= UNLIMITED:
        return None
    return {"max_length": limit, "stride": 0, "strategy": "longest_first", "direction": side}


def tokenizer_of(model: Model, source: Path | None) -> TokenizerFile | str:
    """Return the tokenizer of a model, or why its texts cannot be tokenized without it.

    Args:
        model: section of the request.
        source: the model's folder or file on this machine, or None.
    """
    if find_spec("tokenizers") is None:
        return "the package tokenizers is not installed"
    if source is None or not source.exists():
        return NOT_HERE
    if model.trust_remote_code:
        return "the model may bring code of its own (model.trust_remote_code)"
    if model.static:
        return _there(
            TokenizerFile(file=source if source.is_file() else source / "tokenizer.json", is_static=True, cuts=False)
        )
    kind, folder = _first_module(source)
    if kind == "StaticEmbedding":
        return _there(TokenizerFile(file=folder / "tokenizer.json", is_static=True))
    if kind != "Transformer":
        return f"the model starts with {kind}, which prepares its texts in its own way"
    settings = _settings(folder / "tokenizer_config.json")
    return _there(
        TokenizerFile(
            file=folder / "tokenizer.json",
            is_static=False,
            limit=model.max_seq_length or _limit(folder, settings),
            side=settings.get("truncation_side", "right"),
        )
    )


def _there(found: TokenizerFile) -> TokenizerFile | str:
    return found if found.file.is_file() else "the model has no tokenizer.json"


def _first_module(source: Path) -> tuple[str, Path]:
    """Return the class of a model's first module and its folder; a folder of transformers' own is a Transformer."""
    if not (source / "modules.json").is_file():
        return "Transformer", source
    first = read_json(source / "modules.json")[0]
    package, _, kind = str(first["type"]).rpartition(".")
    is_known = package.startswith("sentence_transformers.")
    return kind if is_known else str(first["type"]), source / str(first["path"])


def _limit(folder: Path, settings: Mapping[str, Any]) -> int | None:
    """Return the model's own limit: what its authors wrote, or what both tokenizer and position embeddings allow."""
    written: int | None = _settings(folder / "sentence_bert_config.json").get("max_seq_length")
    if written is not None:
        return written
    positions = _settings(folder / "config.json").get("max_position_embeddings", UNLIMITED)
    return min(int(settings.get("model_max_length", UNLIMITED)), UNLIMITED if positions == -1 else positions)


def _settings(file: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(file) if file.is_file() else {}
    return found


def prompt_of(prompts: Prompts, dataset: str | None, column: str) -> str | None:
    """Return what stands before the texts of a column, by the rule of sentence-transformers' collator.

    Args:
        prompts: argument `prompts`.
        dataset: name of the dataset where there are several to train on, else None.
        column: name of the column.
    """
    if isinstance(prompts, Mapping) and dataset is not None and dataset in prompts:
        prompts = prompts[dataset]
    if prompts is None or isinstance(prompts, str):
        return prompts
    prompt = prompts.get(column)
    return prompt if isinstance(prompt, str) else None


@dataclass(frozen=True)
class TokenMaker:
    """Makes the token ids of prepared rows, and finds those that are kept beside the rows.

    Attributes:
        read: returns how texts are tokenized, or None where that is more than a fast tokenizer; called at most once.
        prompts: argument `prompts`.
        by_dataset: whether prompts may go by dataset, because there are several to train on.
    """

    read: Callable[[], Tokenizing | None]
    prompts: Prompts
    by_dataset: bool

    @cached_property
    def _tokenizing(self) -> Tokenizing | None:
        return self.read()

    def prompt(self, dataset: str, column: str) -> str | None:
        """Return what stands before the texts of a column."""
        return prompt_of(self.prompts, dataset if self.by_dataset else None, column)

    def ids(self, dataset: str, path: Path, rows: str, column: str) -> TokenIds:
        """Return the token ids of a column, kept or made now.

        Args:
            dataset: name of the dataset.
            path: Arrow IPC stream file of the prepared rows.
            rows: digest of the rows.
            column: name of the column.

        Raises:
            CannotStartError: the disk takes nothing more.
        """
        how, prompt = self._tokenizing, self.prompt(dataset, column)
        assert how is not None, "token ids are made where a tokenizer was found"
        return keep_tokens(path, column, how.key(rows, column, prompt), how, prompt)

    def kept(self, dataset: str, path: Path, rows: str, column: str) -> TokenIds | None:
        """Return the token ids of a column that were kept for just this, or None; takes what `ids` takes."""
        how = self._tokenizing
        return None if how is None else kept_tokens(path, how.key(rows, column, self.prompt(dataset, column)))


def token_maker(request: TrainRequest, read: Callable[[], Tokenizing | None]) -> TokenMaker:
    """Return what makes and finds the token ids of a request, with its prompts.

    Args:
        request: the request.
        read: returns how texts are tokenized, or None where that is more than a fast tokenizer.
    """
    return TokenMaker(read, request.arguments.prompts, by_dataset=len(request.data.train) > 1)
