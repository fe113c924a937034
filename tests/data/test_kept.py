"""Rows and token ids of one run serve the next, and nothing else than what was read is ever used."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.data import scanning
from embedstep.data.facts import DatasetFacts
from embedstep.data.kept import keep_prepared, restore_tokens
from embedstep.data.reading import scan_parts
from embedstep.data.recorded_anchors import FILE as ANCHORS
from embedstep.data.scanning import scan_all
from embedstep.data.tokens import TokenIds
from embedstep.planning.row_needs import row_needs
from embedstep.request.loading import load_request
from embedstep.runtime.cache import NO_CACHE, Cache
from tests.data.test_scanning import with_rows
from tests.data.test_tokens import TEXTS, Rows, tokenizing
from tests.data.test_unchanged import LONG_AGO, touch

Build = Callable[..., dict[str, Any]]
Prepare = Callable[[str], list[DatasetFacts]]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The datasets that were read."""
    found: list[str] = []

    def recorded(parts: Any, *arguments: Any, **options: Any) -> Any:
        found.extend(part.split for part in parts)
        return scan_parts(parts, *arguments, **options)

    monkeypatch.setattr(scanning, "scan_parts", recorded)
    monkeypatch.setattr("embedstep.data.unchanged._SETTLED_SECONDS", -1.0)  # every file of a test is new
    return found


@pytest.fixture
def prepare(evaluated: Build, tmp_path: Path, cache: Cache, reads: list[str]) -> Prepare:
    """Prepare the rows of a request in a folder, as a run does before its training."""
    request = load_request(json.dumps(with_rows(evaluated(), tmp_path)))
    touch(tmp_path)

    def prepare(folder: str) -> list[DatasetFacts]:
        facts, problems = scan_all(request, tmp_path / folder, row_needs(request), cache=cache)
        assert not problems
        return facts

    return prepare


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "sources.json"}


def test_the_next_run_reads_no_rows(prepare: Prepare, cache: Cache, reads: list[str], tmp_path: Path) -> None:
    first = prepare("first")
    assert reads == ["train", "eval"]
    keep_prepared(cache, tmp_path / "first", first)
    second = prepare("second")
    assert reads == ["train", "eval"]
    assert [item.path for item in second] == [str(tmp_path / "second" / Path(str(item.path)).name) for item in first]
    assert set(files(tmp_path / "first")) == {"train-docs.arrow", "eval-docs.arrow", ANCHORS}
    assert files(tmp_path / "second") == files(tmp_path / "first")
    entries = cache.size()
    keep_prepared(cache, tmp_path / "second", second)  # which are kept already
    assert cache.size() == entries


def test_a_file_with_other_content_is_read_though_its_times_are_the_same(
    prepare: Prepare, cache: Cache, reads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_prepared(cache, tmp_path / "first", prepare("first"))
    file = tmp_path / "train.jsonl"
    monkeypatch.setattr(scanning, "facts_key", lambda *arguments: "the same key")
    keep_prepared(cache, tmp_path / "second", prepare("second"))
    reads.clear()
    file.write_text(file.read_text().replace("answer 7", "answer 9"))
    prepare("third")
    assert "train" in reads
    assert b"answer 9" in files(tmp_path / "third")["train-docs.arrow"]


def test_a_file_that_changed_during_the_run_is_not_kept_with_the_rows_of_before(
    prepare: Prepare, cache: Cache, reads: list[str], tmp_path: Path
) -> None:
    first = prepare("first")
    os.utime(tmp_path / "train.jsonl", (LONG_AGO + 1, LONG_AGO + 1))
    records = cache.size()[0]
    keep_prepared(cache, tmp_path / "first", first)
    assert cache.size()[0] == records


def test_damaged_rows_are_read_again(prepare: Prepare, cache: Cache, reads: list[str], tmp_path: Path) -> None:
    keep_prepared(cache, tmp_path / "first", prepare("first"))
    (kept,) = (tmp_path / "cache").glob("*/train-docs.arrow")
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(whole[:-1])
    reads.clear()
    prepare("second")
    assert reads == ["train", "eval"]
    assert (tmp_path / "second" / "train-docs.arrow").read_bytes() == whole


def test_without_a_cache_nothing_is_kept(evaluated: Build, tmp_path: Path) -> None:
    request = load_request(json.dumps(with_rows(evaluated(), tmp_path)))
    facts, _ = scan_all(request, tmp_path / "rows", row_needs(request))
    keep_prepared(NO_CACHE, tmp_path / "rows", facts)
    assert not (tmp_path / "rows" / "sources.json").exists()


def test_token_ids_serve_the_next_run_on_the_same_rows(
    prepare: Prepare, cache: Cache, tmp_path: Path, minilm: Path
) -> None:
    how = tokenizing(minilm)
    first = prepare("first")
    train = first[0]

    def ids_in(folder: str) -> TokenIds:
        return TokenIds(
            tmp_path / folder / "train-docs.arrow", len(TEXTS), how.key(train.fingerprint, "anchor", None), how, None
        )

    some, all_texts = Rows(TEXTS), Rows(TEXTS)
    made = [ids.tolist() for ids in ids_in("first").read([0, 2, 3], some)]
    keep_prepared(cache, tmp_path / "first", first)
    second = prepare("second")
    restore_tokens(cache, tmp_path / "second", second)
    read = ids_in("second").read(range(5), all_texts)
    assert sorted(all_texts.read) == [1, 4]  # the others were tokenized before
    assert [read[row].tolist() for row in (0, 2, 3)] == made
    # What the second run adds is there for the third, and the first run's files know nothing of it.
    keep_prepared(cache, tmp_path / "second", second)
    restore_tokens(cache, tmp_path / "third", prepare("third"))
    texts = Rows(TEXTS)
    assert [ids.tolist() for ids in ids_in("third").read(range(5), texts)] == [ids.tolist() for ids in read]
    assert not texts.read
    assert [ids.tolist() for ids in ids_in("first").read([0, 2, 3], Rows(TEXTS))] == made
