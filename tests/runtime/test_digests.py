import hashlib
from pathlib import Path

import pytest

from embedstep.runtime.digests import sha256_file, sha256_json, sha256_text


def test_a_text_and_a_file_with_the_same_bytes_have_the_same_digest(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("ä".encode())
    expected = hashlib.sha256(b"\xc3\xa4").hexdigest()
    assert sha256_text("ä") == sha256_file(tmp_path / "file") == sha256_file(tmp_path / "file", sync=True) == expected


def test_the_order_of_keys_makes_no_difference() -> None:
    assert sha256_json({"a": 1, "b": [None, "ä"]}) == sha256_json({"b": [None, "ä"], "a": 1})
    assert sha256_json([1, 2]) != sha256_json([2, 1])


def test_the_digest_of_json_is_frozen() -> None:
    """Checkpoints hold it: another one would make their trainings unresumable."""
    assert sha256_json({"b": 1, "a": "ä"}) == hashlib.sha256(b'{"a":"\\u00e4","b":1}').hexdigest()


def test_a_missing_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_file(tmp_path / "missing")
