"""The encodings of text files: found where it is certain, and decoded to UTF-8, which every reader takes.

Certain are a byte order mark, and UTF-8, in which other encodings are invalid as soon as they leave ASCII. Which one of
the encodings with one byte for a character a file has, cannot be known, so it has to be named.
"""

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

UTF8 = "utf-8"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NULLS = 0.3
"""Share of null bytes at the even or odd places above which a text is UTF-16: spaces and line ends alone exceed it."""


def marked_encoding(head: bytes) -> str:
    """Return the encoding that the byte order mark at the beginning of a file names; UTF-8 without one."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), UTF8)


def unmarked_encoding(head: bytes) -> str | None:
    """Return the form of UTF-16 without a byte order mark that the null bytes of a text show, or None."""
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        places = head[first::2]
        if places and places.count(0) / len(places) > _NULLS:
            return name
    return None


def to_utf8(blocks: Iterable[bytes], encoding: str, *, is_cut: bool = False) -> Iterator[bytes]:
    """Yield text as UTF-8 without a byte order mark; text in UTF-8 is passed unexamined.

    Args:
        blocks: the text.
        encoding: name of Python's codec.
        is_cut: the text may end within a character, which is then left out.

    Raises:
        UnicodeDecodeError: a byte is not of the encoding; the reason names its line.
    """
    texts = (
        blocks if codecs.lookup(encoding).name == UTF8 else _decoded(chain(blocks, [] if is_cut else [b""]), encoding)
    )
    is_first = True
    for block in texts:
        yield block.removeprefix(codecs.BOM_UTF8) if is_first else block
        is_first = False


def _decoded(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Decode blocks; an empty one ends the text."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    lines = 1
    for block in blocks:
        try:
            text = decoder.decode(block, not block)
        except UnicodeDecodeError as error:
            lines += error.object[: error.start].count(b"\n")
            error.reason = f"{error.reason} (line {lines:,})"
            raise
        lines += text.count("\n")
        yield text.encode()
