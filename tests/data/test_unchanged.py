"""Files that have not changed are not read again by a check, and whatever has changed is."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data import scanning
from embedstep.data.facts import DatasetFacts
from embedstep.data.reading import scan_parts
from embedstep.data.scanning import scan_all
from embedstep.data.stores import UrlStore
from embedstep.data.unchanged import facts_from_json, facts_to_json
from embedstep.planning.row_needs import row_needs
from embedstep.request.loading import load_request
from embedstep.runtime.cache import Cache
from tests.data.test_scanning import with_rows

Build = Callable[..., dict[str, Any]]
Scan = Callable[..., list[DatasetFacts]]
LONG_AGO = 1_700_000_000


def touch(folder: Path, seconds: float = LONG_AGO) -> None:
    for file in folder.glob("*.jsonl"):
        os.utime(file, (seconds, seconds))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether texts were compared, for each dataset that was read."""
    found: list[bool] = []

    def recorded(*arguments: Any, **options: Any) -> Any:
        found.append(options["compares"])
        return scan_parts(*arguments, **options)

    monkeypatch.setattr(scanning, "scan_parts", recorded)
    # The change time cannot be set: every file of a test is new.
    monkeypatch.setattr("embedstep.data.unchanged._SETTLED_SECONDS", -1.0)
    return found


@pytest.fixture
def scan(evaluated: Build, tmp_path: Path) -> Scan:
    cache = Cache(tmp_path / "cache")
    document = with_rows(evaluated(), tmp_path)
    touch(tmp_path)

    def scan(write_to: Path | None = None, **changes: Any) -> list[DatasetFacts]:
        request = load_request(json.dumps({**document, "data": {**document["data"], **changes}}))
        facts, problems = scan_all(request, write_to, row_needs(request), cache=cache)
        assert not problems
        return facts

    return scan


def test_unchanged_files_are_read_once(scan: Scan, reads: list[bool]) -> None:
    first = scan()
    assert reads == [True, True]
    assert scan() == first
    assert reads == [True, True]
    assert [(item.duplicate_rows, item.overlapping_rows, item.first_overlapping) for item in first] == [
        (2, 0, ()), (0, 4, (1, 2, 3, 4)),
    ]  # fmt: skip


def test_a_run_reads_what_it_trains_on_and_compares_no_text_again(
    scan: Scan, reads: list[bool], tmp_path: Path
) -> None:
    checked = scan()
    run = scan(tmp_path / "rows")
    assert reads == [True, True, False, False]
    assert [item.path for item in run] == [str(tmp_path / "rows" / f"{name}-docs.arrow") for name in ("train", "eval")]
    assert [facts_to_json([item]) for item in run] == [facts_to_json([item]) for item in checked]


def append(folder: Path) -> None:
    with (folder / "train.jsonl").open("a") as file:
        file.write('\n{"anchor": "one more", "positive": "row"}')


def replace_letters(folder: Path) -> None:
    """As many bytes as before, and the old times."""
    file = folder / "train.jsonl"
    file.write_text(file.read_text().replace("answer 7", "answer 6"))
    touch(folder)


@pytest.mark.parametrize("change", [append, replace_letters, lambda folder: touch(folder, LONG_AGO + 1)])
def test_files_that_were_written_again_are_read_again(
    scan: Scan, reads: list[bool], tmp_path: Path, change: Callable[[Path], None]
) -> None:
    scan()
    change(tmp_path)
    again = scan()
    assert reads == [True] * 4
    assert again[0].rows == (11 if change is append else 10)


def test_a_corpus_that_was_written_again_is_read_again(scan: Scan, reads: list[bool], tmp_path: Path) -> None:
    columns = {"anchor": "anchor", "positive": "positive"}
    corpus = tmp_path / "corpus.csv"
    rows = {"path": str(tmp_path / "eval.jsonl"), "columns": columns, "corpus": str(corpus)}
    corpus.write_text("positive\none\n")
    first, again = (scan(eval={"docs": rows})[1] for _ in range(2))
    assert (reads, first) == ([True] * 2, again)
    corpus.write_text("positive\nanother\ntwo\n")
    other = scan(eval={"docs": rows})[1]
    assert (reads, other.corpus_documents) == ([True] * 4, 2)
    assert other.fingerprint != first.fingerprint
    run = scan(tmp_path / "rows", eval={"docs": rows})[1]
    assert (reads[4:], run.corpus) == ([False] * 2, str(tmp_path / "rows" / "eval-docs.corpus.arrow"))


@pytest.mark.parametrize("changes", [{"drop_incomplete_rows": True}, {"max_overlap": 0.5}, {"as_of": "2026-11-02"}])
def test_another_request_is_another_record(scan: Scan, reads: list[bool], changes: dict[str, Any]) -> None:
    scan()
    scan(**changes)
    assert reads == [True] * 4


def test_a_stale_record_is_found_by_the_content_when_it_is_trained_on(
    scan: Scan, reads: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system may keep all times and the number of a file that was changed."""
    monkeypatch.setattr(scanning, "facts_key", lambda *arguments: "the same key")
    scan()
    append(tmp_path)
    found = scan(tmp_path / "rows")
    assert reads == [True, True, False, False, True, True]
    assert found[0].rows == 11
    assert scan(tmp_path / "rows")[0].rows == 11


def test_a_file_that_was_just_written_may_still_change(
    scan: Scan, reads: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedstep.data.unchanged._SETTLED_SECONDS", 3_600.0)
    scan()
    scan()
    assert reads == [True] * 4


def test_only_a_store_that_tags_its_files_is_trusted() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/rows.jsonl", b"{}")
    assert UrlStore(memory).stamp("/rows.jsonl") is None

    class Tagged:
        def info(self, path: str) -> dict[str, Any]:
            return {"name": path, "size": 2, "ETag": '"abc"', "LastModified": "2026-11-02"}

    stamp = UrlStore(Tagged()).stamp("/rows.jsonl")
    assert stamp is not None
    assert (stamp.tag, stamp.changed) == ('2 ETag "abc" LastModified 2026-11-02', 0.0)


facts = st.builds(
    DatasetFacts,
    split=st.sampled_from(["train", "eval"]), name=st.text(), rows=st.integers(0), dropped_rows=st.integers(0),
    columns=st.dictionaries(st.sampled_from(["anchor", "positive", "label"]), st.sampled_from(["text", "integer"])),
    dropped_columns=st.lists(st.text()).map(tuple), first_overlapping=st.lists(st.integers(1)).map(tuple),
    unsaid_formats=st.dictionaries(st.text(), st.text()), label_values=st.dictionaries(st.integers(), st.integers()),
    label_range=st.none() | st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    rows_read=st.none() | st.integers(0), has_lengths=st.booleans(), fingerprint=st.text(),
)  # fmt: skip


@given(st.lists(facts, max_size=3))
def test_facts_are_the_same_after_they_were_kept(items: list[DatasetFacts]) -> None:
    assert facts_from_json(json.loads(json.dumps(facts_to_json(items)))) == items
