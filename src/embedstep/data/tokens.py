"""Token ids of a column, kept in files from the first time that a row is read; the processes of a node share them.

Nothing is tokenized before the training: the first step comes as soon as in a plain script, and each later epoch reads
ids. The log of ids only grows, and one number in the index says where those of a row are, so a reader sees either
nothing or all of them, and no process waits for another.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

import errno
import json
import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstep.data.model_facts import UNLIMITED
from embedstep.data.token_files import IDS, INDEX, TokenFiles
from embedstep.runtime.digests import sha256_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FORMAT = "embedstep.tokens/1"
_LENGTH_BITS = 24
_LONGEST = 2**_LENGTH_BITS - 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
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
        how = [_FORMAT, version("tokenizers"), self.tokenizer, truncation, self.special_tokens]
        parts = [how, rows, column, prompt or ""]
        return sha256_text(json.dumps(parts))

    @cached_property
    def built(self) -> Tokenizer:
        """The tokenizer, built once for all columns; forked processes have it, too."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer)
        if self.truncation is not None:
            tokenizer.enable_truncation(**self.truncation)
        return tokenizer

    @cached_property
    def id_type(self) -> np.dtype[Any]:
        """The type of an id: two bytes, or four for a vocabulary that needs them."""
        last = max(self.built.get_vocab().values(), default=0)
        return np.dtype(np.uint16 if last < 2**16 else np.uint32)


def truncation_settings(limit: int | None, side: str) -> dict[str, Any] | None:
    """Return the truncation that transformers sets on a fast tokenizer for single texts, or None for no limit."""
    if limit is None or limit >= UNLIMITED:
        return None
    return {"max_length": limit, "stride": 0, "strategy": "longest_first", "direction": side}


class TokenIds:
    """The token ids of a column of prepared rows.

    Two files stand next to the rows: the ids one after the other, and for each row a 64-bit number with the place and
    the number of its ids, or 0. Where they cannot be written, texts are tokenized each time that they are read.
    """

    def __init__(self, file: Path, rows: int, key: str, how: TokenizerSettings, prompt: str | None) -> None:
        """Open nothing yet: a worker of a data loader opens the files for itself.

        Args:
            file: Arrow IPC stream file of the prepared rows.
            rows: their number.
            key: from `TokenizerSettings.key`.
            how: the tokenizer.
            prompt: prefix of each text.
        """
        files = TokenFiles(file)
        self._index_file, self._log_file = files.place(key + INDEX), files.place(key + IDS)
        self._rows = rows
        self._how = how
        self._prompt = prompt or ""
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out open files, which another process opens for itself."""
        kept = ("_index_file", "_log_file", "_rows", "_how", "_prompt")
        return {**{name: getattr(self, name) for name in kept}, "_process": 0}

    def read(self, rows: Sequence[int], texts: Callable[[Sequence[int]], Sequence[str]]) -> list[NDArray[Any]]:
        """Return the ids of some rows, each of shape (tokens,), and keep those that are new.

        Args:
            rows: row numbers.
            texts: returns the texts of some of the rows, in their order.
        """
        if self._process != os.getpid():
            self._open()
        places = self._index[rows]
        found = self._kept(places)
        if missing := np.flatnonzero(places == 0).tolist():
            made = self.tokenize(texts([rows[at] for at in missing]))
            for at, ids in zip(missing, made, strict=True):
                found[at] = ids
            self._keep([rows[at] for at in missing], made)
        return found

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Return the ids of texts, each of shape (tokens,)."""
        given = [self._prompt + text for text in texts] if self._prompt else list(texts)
        encoded = self._how.built.encode_batch_fast(given, add_special_tokens=self._how.special_tokens)
        return [np.array(one.ids, self._how.id_type) for one in encoded]

    def _open(self) -> None:
        self._output: int | None = None
        self._index = np.zeros(self._rows, np.int64)
        self._ids: NDArray[np.uint8] = np.empty(0, np.uint8)
        try:
            with self._index_file.open("ab") as index:
                # The disk space is taken now: a full disk would later end the process that writes to mapped memory.
                os.posix_fallocate(index.fileno(), 0, self._index.nbytes)
            self._index = np.asarray(np.memmap(self._index_file, np.int64, "r+", shape=(self._rows,)))
            self._output = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._closing = weakref.finalize(self, os.close, self._output)
        except OSError as error:
            self._stop_keeping(error)
        self._process = os.getpid()

    def _kept(self, places: NDArray[np.int64]) -> list[Any]:
        """Return the ids at some places; None for a place of 0."""
        size = self._how.id_type.itemsize
        counts = places & _LONGEST
        starts = (places >> _LENGTH_BITS) - 1
        ends = starts + counts * size
        if int(ends.max(initial=0)) > len(self._ids):
            self._ids = np.asarray(np.memmap(self._log_file, np.uint8, "r"))
        return [
            self._ids[start:end].view(self._how.id_type) if start >= 0 else None
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]

    def _keep(self, rows: Sequence[int], made: Sequence[NDArray[Any]]) -> None:
        if self._output is None:
            return
        counts = np.array([len(ids) for ids in made], np.int64)
        written = np.concatenate(made).tobytes()
        try:
            if (size := os.write(self._output, written)) < len(written):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._stop_keeping(error)
            return
        # With O_APPEND the position is now the end of what this process has written, also where others write.
        begin = os.lseek(self._output, 0, os.SEEK_CUR) - size
        ends = begin + np.cumsum(counts) * self._how.id_type.itemsize
        places = (ends - counts * self._how.id_type.itemsize + 1 << _LENGTH_BITS) | counts
        self._index[rows] = np.where(counts <= _LONGEST, places, 0)

    def _stop_keeping(self, error: OSError) -> None:
        _log.warning("token ids are not kept, so texts are tokenized in each epoch: %s", error)
        if self._output is not None:
            self._closing()
        self._output = None
