"""Digests of texts, JSON documents and files in hexadecimal digits: SHA-256, and XXH3 where nobody would forge one."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_AT_ONCE = 2**20


def sha256_text(text: str) -> str:
    """Return the digest of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_json(value: Any) -> str:
    """Return the digest of plain data; the order of keys makes no difference."""
    return sha256_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True))


def sha256_file(path: Path, *, sync: bool = False) -> str:
    """Return the digest of a file.

    Args:
        path: the file.
        sync: flush the file to the disk first (`fsync`).
    """
    with path.open("rb") as opened:
        if sync:
            os.fsync(opened.fileno())
        return hashlib.file_digest(opened, "sha256").hexdigest()


def xxh3_file(path: Path) -> str:
    """Return the 128-bit XXH3 of a file, which takes about as long as reading it."""
    from xxhash import xxh3_128

    digest = xxh3_128()
    with path.open("rb") as opened:
        while part := opened.read(_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


def sha256_files(folder: Path, files: Iterable[Path]) -> str:
    """Return the digest of some files of a folder: their places in it and their content."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(bytes.fromhex(sha256_file(file)))
    return digest.hexdigest()
