"""The names of token ids next to rows."""

from pathlib import Path

import pytest

from embedstep.data import token_files
from embedstep.data.token_files import IDS, INDEX, TokenFiles


def test_files_are_found_by_their_rows_and_this_start_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = TokenFiles(tmp_path / "train-docs.v2.arrow")
    assert files.written() == {}
    index, ids = files.place("abc" + INDEX), files.place("abc" + IDS)
    index.write_bytes(b"0")
    assert files.written() == {}
    ids.touch()
    assert files.written() == {}  # nothing was tokenized
    ids.write_bytes(b"0")
    assert files.written() == {"abc.index": index, "abc.ids": ids}
    assert TokenFiles(tmp_path / "train-docs.arrow").written() == {}
    assert TokenFiles(tmp_path / "docs.v2.arrow").written() == {}
    monkeypatch.setattr(token_files, "_this_boot", lambda: "another")
    assert TokenFiles(tmp_path / "train-docs.v2.arrow").written() == {}
