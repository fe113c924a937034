"""The hashes of training anchors that are saved with a model."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.duplicates import hash_texts
from embedstep.data.recorded_anchors import (
    FILE,
    SeenAnchors,
    count_seen,
    merge_anchors,
    read_anchors,
    write_anchors,
)
from embedstep.data.scanning import scan_all
from embedstep.request.loading import load_request
from embedstep.runtime.cache import Cache

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=40)


def array(numbers: list[int]) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    return np.array(numbers, np.uint64)


def test_the_file_has_8_bytes_an_anchor_and_names_its_hash(tmp_path: Path) -> None:
    write_anchors(tmp_path, [array([7, 3, 7]), array([2**64 - 1, 3])])
    content = (tmp_path / FILE).read_bytes()
    assert len(content) == 128 + 3 * 8
    assert b"('xxh3-64', '<u8')" in content[:128]
    found = read_anchors(tmp_path)
    assert found is not None
    assert found.tolist() == [3, 7, 2**64 - 1]


def test_the_hash_is_the_same_in_every_process_and_release() -> None:
    found = hash_texts([b"openafile", b""])
    assert [f"{one:016x}" for one in found.tolist()] == ["db28dadc25a1a857", "2d06800538d394c2"]


def test_without_anchors_there_is_no_file(tmp_path: Path) -> None:
    write_anchors(tmp_path, [])
    write_anchors(tmp_path, [array([])])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no array", "another dtype", None])
def test_a_file_of_another_kind_says_nothing(content: bytes | str | None, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / FILE).write_bytes(content)
    elif content:
        np.save(tmp_path / FILE, array([1]))
    assert read_anchors(tmp_path) is None


@given(own=HASHES.filter(bool), earlier=HASHES)
def test_a_model_has_the_anchors_of_the_one_that_it_started_from(
    own: list[int], earlier: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folders = [tmp_path_factory.mktemp(name) for name in ("own", "base", "without", "model")]
    for folder, hashes in zip(folders, (own, earlier), strict=False):
        write_anchors(folder, [array(hashes)])
    merge_anchors(folders[3], *folders[:3])
    found = read_anchors(folders[3])
    assert found is not None
    assert found.tolist() == sorted({*own, *earlier})


def test_a_run_that_records_no_anchors_takes_none_over(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write_anchors(tmp_path / "base", [array([1])])
    merge_anchors(tmp_path, tmp_path / "own", tmp_path / "base")
    assert read_anchors(tmp_path) is None


@given(held_out=HASHES, recorded=HASHES)
def test_seen_anchors_are_those_of_both(held_out: list[int], recorded: list[int]) -> None:
    found = count_seen(array(held_out), array(sorted(set(recorded))))
    assert found == SeenAnchors(anchors=len(set(held_out)), seen=len({*held_out} & {*recorded}))


@pytest.mark.parametrize(("record", "anchors"), [(True, 3), (False, None)])
def test_reading_the_rows_of_a_run_records_their_different_anchors(
    record: bool, anchors: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [("Open a file", "a"), ("open  a FILE", "b"), ("close it", "c"), ("sort", "d")]
    lines = [json.dumps({"anchor": anchor, "positive": positive}) for anchor, positive in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    docs = {"path": str(tmp_path / "rows.jsonl"), "columns": {"anchor": "anchor", "positive": "positive"}}
    document = {"model": "m", "loss": "cosent", "data": {"train": {"docs": docs}, "record_anchors": record}}
    # The file counts as unchanged, so that the second reading compares no texts.
    monkeypatch.setattr("embedstep.data.unchanged._SETTLED_SECONDS", -1.0)
    for folder in ("data", "again"):
        scan_all(load_request(json.dumps(document)), tmp_path / folder, {}, cache=Cache(tmp_path / "cache"))
        found = read_anchors(tmp_path / folder)
        assert (None if found is None else len(found)) == anchors
        if found is not None:
            assert set(hash_texts([b"openafile", b"closeit", b"sort"])) == set(found)
    assert len(list((tmp_path / "cache").iterdir())) == 1
