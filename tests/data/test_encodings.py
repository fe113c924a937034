"""Encodings: found by their marks, named otherwise, and decoded without loss."""

import codecs

import pytest

from embedstep.data.encodings import marked_encoding, to_utf8, unmarked_encoding

TEXT = 'q,a\n"ä, €",x\n'


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
    ],
)
def test_a_byte_order_mark_names_the_encoding(mark: bytes, encoding: str) -> None:
    assert marked_encoding(mark + b"q,a\n") == encoding


@pytest.mark.parametrize(
    ("encoding", "found"), [("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("utf-8", None), ("cp1252", None)]
)
def test_null_bytes_show_unmarked_utf_16(encoding: str, found: str | None) -> None:
    assert unmarked_encoding(TEXT.encode(encoding)) == found
    assert unmarked_encoding(b"") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "gb18030"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_text_is_decoded_whatever_the_blocks(encoding: str, size: int) -> None:
    raw = TEXT.encode(encoding)
    blocks = [raw[start : start + size] for start in range(0, len(raw), size)]
    # UTF-8 is not looked into, so its mark has to be in one block, as it is in a real one.
    if encoding != "utf-8" or size > 3:
        assert b"".join(to_utf8(blocks, encoding)).decode() == TEXT


def test_a_beginning_may_end_within_a_character() -> None:
    raw = TEXT.encode("utf-16-le")[:-1]
    assert b"".join(to_utf8([raw], "utf-16-le", is_cut=True)).decode() == TEXT[:-1]
    with pytest.raises(UnicodeDecodeError, match=r"truncated data \(line 2\)"):
        list(to_utf8([raw], "utf-16-le"))


def test_a_byte_of_another_encoding_is_named_with_its_line() -> None:
    with pytest.raises(UnicodeDecodeError, match=r"byte 0x81 in position 1: .* \(line 4\)"):
        list(to_utf8([b"a\nb\nc\n", b"d\x81"], "cp1252"))
