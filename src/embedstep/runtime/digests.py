"""SHA-256 digests of texts, JSON documents and files, as 64 hexadecimal digits."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


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


def sha256_files(folder: Path, files: Iterable[Path]) -> str:
    """Return the digest of some files of a folder: their places in it and their content."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(bytes.fromhex(sha256_file(file)))
    return digest.hexdigest()
