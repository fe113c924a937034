"""Blocks of bytes as a file."""

import io
from collections.abc import Iterator

import pytest

from embedstep.data.streams import BLOCK_BYTES, open_blocks, read_blocks


def test_a_read_is_full_whatever_the_blocks() -> None:
    with open_blocks(iter([b"ab", b"", b"c\nd", b"efg"])) as file:
        assert file.read(4) == b"abc\n"
        assert list(file) == [b"defg"]


def test_an_error_of_the_blocks_is_raised_by_the_read() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("bad")

    with open_blocks(blocks()) as file, pytest.raises(ValueError, match="bad"):
        file.read()


def test_a_file_is_read_block_by_block() -> None:
    content = bytes(BLOCK_BYTES + 5)
    assert [len(block) for block in read_blocks(io.BytesIO(content))] == [BLOCK_BYTES, 5]
