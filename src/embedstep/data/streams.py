"""Blocks of bytes as a file, so that a reader of files gets what was decoded or rewritten on the way."""

import io
from collections.abc import Iterator
from typing import BinaryIO, cast

BLOCK_BYTES = 1 << 20


class _Blocks(io.RawIOBase):
    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def open_blocks(blocks: Iterator[bytes]) -> BinaryIO:
    """Return the blocks as one file; an error of the iterator is raised by the read that meets it."""
    return cast(BinaryIO, io.BufferedReader(_Blocks(blocks), BLOCK_BYTES))


def read_blocks(source: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks of at most 1 MiB."""
    while block := source.read(BLOCK_BYTES):
        yield block
