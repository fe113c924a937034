"""Token ids in place of texts: used only if they give the loaded model's features, and padded like the model does."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer
from tokenizers import Tokenizer

from embedstep.data.tokens import TokenIds, TokenizerSettings, truncation_settings
from embedstep.planning.plan import PlannedDataset

_COMPARED_ROWS = 32
_log = logging.getLogger(__name__)


def tokenizing_of(model: SentenceTransformer) -> TokenizerSettings | None:
    """Return how a loaded model tokenizes a text, or None if it does more than call a fast tokenizer."""
    first = model[0]
    if type(first) is StaticEmbedding:
        fast, truncation = first.tokenizer, first.tokenizer.truncation
    elif type(first) is Transformer and getattr(first.tokenizer, "is_fast", False):
        fast = first.tokenizer.backend_tokenizer
        truncation = truncation_settings(first.tokenizer.model_max_length, first.tokenizer.truncation_side)
    else:
        return None
    # A copy, because turning off padding and truncation would change the model's own tokenizer.
    plain = Tokenizer.from_str(fast.to_str())
    plain.no_padding()
    plain.no_truncation()
    is_static = type(first) is StaticEmbedding
    return TokenizerSettings(tokenizer=plain.to_str(), truncation=truncation, special_tokens=not is_static)


class Padding:
    """Preprocessing of each column by the collator: pads cached token ids, and passes texts on to the model.

    Attributes:
        tokens: tokens in all batches so far.
        places: places in all batches so far, padding included.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model
        self.tokens = 0
        self.places = 0
        self._examples: dict[str | None, Mapping[str, Any]] = {}

    def __call__(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """Return the features of a column of a batch.

        Args:
            inputs: texts, or the token ids of each text, shape (tokens,).
            prompt: prefix of each text, which the token ids include.
            options: passed on to the model.
        """
        features = self._features(inputs, prompt, options)
        mask = features.get("attention_mask")
        if isinstance(mask, torch.Tensor):
            self.tokens += int(mask.sum())
            self.places += mask.numel()
        return features

    @property
    def share(self) -> float | None:
        """Share of padding in all batches; None if this process has padded none."""
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
        """Return the features of a batch, with the names and in the order of `example`."""
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


def token_ids(
    item: PlannedDataset,
    rows: Dataset,
    model: SentenceTransformer,
    how: TokenizerSettings,
    prompts: Mapping[str, str],
) -> dict[str, TokenIds]:
    """Return the token ids of the columns of a dataset; none where the model itself has to tokenize.

    Args:
        item: the planned dataset.
        rows: its rows.
        model: the loaded model.
        how: its tokenizer.
        prompts: prompt of each column that has one.
    """
    first_rows = rows[:_COMPARED_ROWS]
    found = {}
    for column in item.inputs:
        prompt = prompts.get(column)
        ids = TokenIds(item.file, item.rows, how.key(item.fingerprint, column, prompt), how, prompt)
        if pads_as_the_model(model, ids.tokenize(first_rows[column]), first_rows[column], prompt):
            found[column] = ids
    if len(found) < len(item.inputs):
        _log.warning("the texts of %s are tokenized each time: only the model itself makes its features", item.name)
    return found


def pads_as_the_model(
    model: SentenceTransformer, ids: Sequence[NDArray[Any]], texts: Sequence[str], prompt: str | None
) -> bool:
    """Whether token ids, padded, equal the model's own features of their texts, bit by bit.

    Args:
        model: the loaded model.
        ids: ids of each text.
        texts: the texts.
        prompt: prefix of each text.
    """
    expected = model.preprocess(list(texts), prompt=prompt)
    try:
        found = Padding(model)(ids, prompt=prompt)
    except KeyError:  # the model needs a feature that `Padding` does not make
        return False
    return list(found) == list(expected) and all(_is_equal(found[name], expected[name]) for name in expected)


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return bool(one.dtype == other.dtype and torch.equal(one, other))
    return bool(type(one) is type(other) and one == other)
