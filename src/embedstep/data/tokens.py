"""Token ids of a column, cached in files next to the rows; each rank maps them into memory."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from embedstep.data.ids import read_table
from embedstep.errors import CannotStartError
from embedstep.runtime.digests import sha256_text
from embedstep.runtime.progress import with_progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AT_ONCE = 4096
"""Number of texts per call of the tokenizer, which spreads them over the cores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerSettings:
    """A fast tokenizer and its settings.

    Attributes:
        tokenizer: the tokenizer as JSON, without padding and truncation.
        truncation: keywords of `tokenizers.Tokenizer.enable_truncation`, or None for no truncation.
        special_tokens: whether the tokenizer adds its special tokens to each text.
    """

    tokenizer: str
    truncation: Mapping[str, Any] | None
    special_tokens: bool

    def key(self, rows: str, column: str, prompt: str | None) -> str:
        """Return a digest of everything that the token ids depend on.

        Args:
            rows: digest of the rows.
            column: name of the column.
            prompt: prompt of the column.
        """
        truncation = sorted((self.truncation or {}).items())
        parts = [self.tokenizer, truncation, self.special_tokens, rows, column, prompt or ""]
        return sha256_text(json.dumps(parts))


@dataclass(frozen=True, slots=True)
class TokenIds:
    """The token ids of each row of a column; equal texts are stored once.

    Attributes:
        ids: concatenated token ids of all texts, shape (tokens,).
        starts: index in `ids` of the start of each text and of the end of the last one, shape (texts + 1,).
        text_of: index of each row's text, shape (rows,).
    """

    ids: "NDArray[np.int32]"
    starts: "NDArray[np.int64]"
    text_of: "NDArray[np.int32]"

    def __getitem__(self, row: int) -> "NDArray[np.int32]":
        text = self.text_of[row]
        return self.ids[self.starts[text] : self.starts[text + 1]]

    @property
    def lengths(self) -> "NDArray[np.int64]":
        """Number of tokens of each row, shape (rows,)."""
        import numpy as np

        return np.diff(self.starts)[self.text_of]


def cache_tokens(path: Path, column: str, key: str, tokenizing: TokenizerSettings, prompt: str | None) -> TokenIds:
    """Return the token ids of a column from the cache, or tokenize the column and add them.

    Args:
        path: Arrow IPC stream file of the prepared rows.
        column: a column of texts.
        key: from `TokenizerSettings.key`.
        tokenizing: the tokenizer.
        prompt: prompt of the column.

    Raises:
        CannotStartError: the disk is full.
    """
    import numpy as np

    if (kept := cached_tokens(path, key)) is not None:
        return kept
    ids, starts, text_of = _files(path, key)
    try:
        texts: Any = read_table(path).column(column).combine_chunks().dictionary_encode()
        with ids.open("wb") as file:
            ends = np.cumsum([0, *_written(file, texts.dictionary, tokenizing, prompt)], dtype=np.int64)
        np.save(starts, ends)
        # Last, because its existence means that the others are complete.
        np.save(text_of, texts.indices.to_numpy())
    except OSError as error:
        for left in (ids, starts, text_of):
            left.unlink(missing_ok=True)
        raise CannotStartError(f"the token ids of {column} cannot be kept in {path.parent}: {error}") from error
    found = cached_tokens(path, key)
    assert found is not None, "files that were just written are there"
    return found


def cached_tokens(path: Path, key: str) -> TokenIds | None:
    """Return the cached token ids with a key, or None.

    Args:
        path: Arrow IPC stream file of the prepared rows.
        key: from `TokenizerSettings.key`.
    """
    import numpy as np

    ids, starts, text_of = _files(path, key)
    if not text_of.exists():
        return None
    # An empty file cannot be mapped: a static embedding has no tokens for an empty text.
    found = np.memmap(ids, np.int32, "r") if ids.stat().st_size else np.empty(0, np.int32)
    # As plain arrays over the same memory, because slicing a memmap is slow: each slice is a memmap, too.
    return TokenIds(*map(np.asarray, (found, np.load(starts, mmap_mode="r"), np.load(text_of, mmap_mode="r"))))


def has_tokens(path: Path) -> bool:
    """Whether any token ids of the rows are cached, whatever the tokenizer."""
    return any(path.parent.glob(f"{path.stem}.*.text_of.npy"))


def _files(path: Path, key: str) -> tuple[Path, Path, Path]:
    ids, starts, text_of = (
        path.with_name(f"{path.stem}.{key[:16]}.{end}") for end in ("tokens", "starts.npy", "text_of.npy")
    )
    return ids, starts, text_of


def _written(file: BinaryIO, texts: Any, tokenizing: TokenizerSettings, prompt: str | None) -> Iterator[int]:
    """Tokenize texts, write the ids to a file, and yield the number of tokens of each text."""
    import numpy as np
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizing.tokenizer)
    if tokenizing.truncation is not None:
        tokenizer.enable_truncation(**tokenizing.truncation)
    for start in with_progress(f"tokenizing {len(texts):,} texts", range(0, len(texts), _AT_ONCE)):
        some = texts[start : start + _AT_ONCE].to_pylist()
        given = [prompt + text for text in some] if prompt else some
        encoded = tokenizer.encode_batch_fast(given, add_special_tokens=tokenizing.special_tokens)
        ids = [text.ids for text in encoded]
        file.write(np.fromiter(chain.from_iterable(ids), np.int32).tobytes())
        yield from map(len, ids)
