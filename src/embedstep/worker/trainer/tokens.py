"""Kept token ids in place of texts: taken only when they are those of the loaded model, and padded as it would."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer
from tokenizers import Tokenizer

from embedstep.data.tokenizer import TokenMaker, truncation_of
from embedstep.data.tokens import TokenIds, Tokenizing, has_tokens
from embedstep.planning.plan import PlannedDataset

_COMPARED_ROWS = 32
_log = logging.getLogger(__name__)


def tokenizing_of(model: SentenceTransformer) -> Tokenizing | None:
    """Return how a loaded model makes token ids of a text, or None where that is more than a fast tokenizer."""
    first = model[0]
    if type(first) is StaticEmbedding:
        fast, truncation = first.tokenizer, first.tokenizer.truncation
    elif type(first) is Transformer and getattr(first.tokenizer, "is_fast", False):
        fast = first.tokenizer.backend_tokenizer
        truncation = truncation_of(first.tokenizer.model_max_length, first.tokenizer.truncation_side)
    else:
        return None
    # A copy, because reading what the tokenizer does without padding and truncation would take them from it.
    plain = Tokenizer.from_str(fast.to_str())
    plain.no_padding()
    plain.no_truncation()
    is_static = type(first) is StaticEmbedding
    return Tokenizing(tokenizer=plain.to_str(), truncation=truncation, special_tokens=not is_static)


class Padding:
    """What a collator calls for each column: pads kept token ids, and gives texts to the model."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self.tokens = 0
        self.places = 0
        self._examples: dict[str | None, Mapping[str, Any]] = {}

    def __call__(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """Return the features of a column of a batch.

        Args:
            inputs: texts, or the token ids of each text, shape (tokens,).
            prompt: what stands before each text; the token ids begin with it.
            options: for the model.
        """
        features = self._features(inputs, prompt, options)
        mask = features.get("attention_mask")
        if isinstance(mask, torch.Tensor):
            self.tokens += int(mask.sum())
            self.places += mask.numel()
        return features

    @property
    def share(self) -> float | None:
        """Share of the places in all batches that were padding; None where this process has padded nothing."""
        return round(1 - self.tokens / self.places, 4) if self.places else None

    def _features(self, inputs: Sequence[Any], prompt: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(inputs[0], np.ndarray):
            features: dict[str, Any] = self._model.preprocess(inputs, prompt=prompt, **options)
            return features
        lengths = np.array([len(ids) for ids in inputs])
        ids = np.concatenate(inputs).astype(np.int64)
        if isinstance(self._model[0], StaticEmbedding):
            offsets = np.cumsum(lengths) - lengths
            return {"input_ids": torch.from_numpy(ids), "offsets": torch.from_numpy(offsets)}
        return self._padded(ids, lengths, self._example(prompt))

    def _padded(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], example: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features that a text has, in their order, for the texts of a batch."""
        tokenizer = self._model[0].tokenizer
        places = np.arange(lengths.max())
        if tokenizer.padding_side == "left":
            places = places[::-1]
        is_token = places < lengths[:, None]
        padded = np.full(is_token.shape, tokenizer.pad_token_id, np.int64)
        padded[is_token] = ids
        made = {
            "input_ids": padded,
            "attention_mask": is_token.astype(np.int64),
            "token_type_ids": np.zeros(is_token.shape, np.int64),
        }
        return {
            name: torch.from_numpy(made[name]) if isinstance(value, torch.Tensor) else value
            for name, value in example.items()
        }

    def _example(self, prompt: str | None) -> Mapping[str, Any]:
        if prompt not in self._examples:
            self._examples[prompt] = self._model.preprocess(["a"], prompt=prompt)
        return self._examples[prompt]


def pads_as_the_model(model: SentenceTransformer, ids: TokenIds, texts: Sequence[str], prompt: str | None) -> bool:
    """Whether kept token ids, padded, are to the bit what the model makes of the first texts.

    Args:
        model: the loaded model.
        ids: token ids of a column.
        texts: the first texts of the column.
        prompt: what stands before each text.
    """
    expected = model.preprocess(list(texts), prompt=prompt)
    try:
        found = Padding(model)([ids[row] for row in range(len(texts))], prompt=prompt)
    except KeyError:  # the model wants a tensor of which nothing is known here
        return False
    return list(found) == list(expected) and all(_is_equal(found[name], expected[name]) for name in expected)


def kept_for(
    item: PlannedDataset, rows: Dataset, model: SentenceTransformer, tokens: TokenMaker
) -> dict[str, TokenIds]:
    """Return the token ids that are kept for the columns of a dataset, where they are those of the loaded model.

    Args:
        item: the planned dataset.
        rows: its rows.
        model: the loaded model.
        tokens: finds what was kept for this model.
    """
    path = Path(str(item.path))
    if not has_tokens(path):
        return {}
    first_rows = rows[:_COMPARED_ROWS]
    found = {}
    for column in item.inputs:
        ids = tokens.kept(item.name, path, item.fingerprint, column)
        if ids is not None and pads_as_the_model(model, ids, first_rows[column], tokens.prompt(item.name, column)):
            found[column] = ids
    if len(found) < len(item.inputs):
        _log.warning(
            "the token ids kept for %s are not those of the loaded model; it tokenizes the texts itself", item.name
        )
    return found


def _is_equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return bool(one.dtype == other.dtype and torch.equal(one, other))
    return bool(one == other)
