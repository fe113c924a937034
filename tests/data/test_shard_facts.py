"""The facts of a Parquet file: what they say, where they are, and when they are those of another content."""

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.duplicates import TextHashes
from embedstep.data.ids import _hash_texts
from embedstep.data.shard_facts import Shard, facts_file, read_shard, write_all_facts, write_facts
from embedstep.data.sources import DataFile, find_files
from embedstep.data.stores import LocalStore
from embedstep.errors import InvalidRequestError, Problem

ROWS = {
    "q": ["One  two", "", "naïve", None],
    "n": pa.array([1.0, 2.0, None, 3.0]),
    "share": [0.5, 1.0, 2.0, 3.0],
    "class": [1, 0, 1, 2],
    "list": [["a"], [], ["b"], ["c"]],
    "day": pa.array([0, 1, 2, 3], pa.date32()),
}


@pytest.fixture
def file(tmp_path: Path) -> DataFile:
    pq.write_table(pa.table(ROWS), tmp_path / "rows.parquet")
    return find_files("data.train.docs", [str(tmp_path / "rows.parquet")], None)[0]


def read(file: DataFile) -> Shard | None:
    return read_shard("data.train.docs", file)


def array_of(shard: Shard, name: str) -> Any:
    found = np.empty(shard.rows, np.uint64)
    shard.read_into("files", {name: found})
    return found


def test_facts_say_what_each_column_holds(file: DataFile) -> None:
    written = write_facts("files", file)
    assert {name: (one.kind, one.empty, one.is_whole, bool(one.digest)) for name, one in written.columns.items()} == {
        "q": ("text", 2, True, True),
        "n": ("number", 1, True, True),
        "share": ("number", 0, False, True),
        "class": ("integer", 0, True, True),
        "list": ("texts", 0, True, False),
        "day": (None, 0, True, False),
    }
    assert (written.rows, read(file)) == (4, written)


def test_arrays_have_a_value_for_each_row(file: DataFile) -> None:
    written = write_facts("files", file)
    texts = pa.array(["One  two", "", "naïve", ""])
    same = TextHashes({"q": "text"})
    same.update(pa.record_batch([texts], ["q"]))
    hashes, keys, length, classes = (array_of(written, name) for name in ("q.hash", "q.key", "q.bytes", "class.value"))
    assert hashes.tolist() == _hash_texts(pa.chunked_array([texts])).tolist()
    assert keys.tolist() == same.by_column()["q"].tolist()
    assert (length.tolist(), classes.tolist()) == ([8, 0, 6, 0], [1, 0, 1, 2])


def test_only_named_columns_get_facts(file: DataFile) -> None:
    written = write_facts("files", file, ["class"])
    assert [name for name, one in written.columns.items() if one.digest] == ["class"]
    with pytest.raises(InvalidRequestError, match=r"has no column 'klass'; its columns are q, .* class"):
        write_facts("files", file, ["klass"])
    with pytest.raises(InvalidRequestError, match="has no column of texts or numbers"):
        write_facts("files", file, ["list"])


def test_facts_are_in_a_folder_that_no_dataset_reads(file: DataFile, tmp_path: Path) -> None:
    write_facts("files", file)
    assert facts_file(file).path == str(tmp_path / "_facts/rows.parquet")
    for path in (tmp_path, tmp_path / "*.parquet", tmp_path / "**/*.parquet"):
        assert [found.path for found in find_files("data.train.docs", [str(path)], None)] == [file.path]


@pytest.mark.parametrize("rows", [{**ROWS, "class": [1, 0, 1, 3]}, {"q": ["another"]}, {**ROWS, "more": [1, 2, 3, 4]}])
def test_facts_of_another_content_are_none(file: DataFile, rows: dict[str, object]) -> None:
    assert read(file) is None
    write_facts("files", file)
    pq.write_table(pa.table(rows), file.path)
    assert read(file) is None


def test_a_copy_elsewhere_keeps_its_facts(file: DataFile, tmp_path: Path) -> None:
    write_facts("files", file)
    store = fsspec.filesystem("memory")
    store.put(f"{tmp_path}/", "/copied/", recursive=True)
    copied = find_files("data.train.docs", ["memory://copied/*.parquet"], None)
    assert [shard.rows for one in copied if (shard := read(one))] == [4]
    store.rm("/copied", recursive=True)


def test_facts_are_written_to_a_store(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    with store.open("/rows/a.parquet", "wb") as opened:
        pq.write_table(pa.table({"q": ["one"]}), opened)
    assert [one.rows for one in write_all_facts(["memory://rows/a.parquet"], []) if isinstance(one, Shard)] == [1]
    assert store.exists("/rows/_facts/a.parquet")
    store.rm("/rows", recursive=True)


def test_broken_files_are_named_and_the_others_have_facts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pq.write_table(pa.table({"q": ["one", "two"]}), tmp_path / f"{name}.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and no more")
    found = [*write_all_facts([str(tmp_path)], [])]
    assert [one.rows for one in found if isinstance(one, Shard)] == [2, 2]
    problems = [one for one in found if isinstance(one, Problem)]
    assert problems == [Problem("", f"{tmp_path}/c.parquet cannot be read as parquet: it has no footer")]


def test_many_rows_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedstep.data.shard_facts._GROUP_ROWS", 10_000)
    pq.write_table(pa.table({"n": np.arange(50_000)}), tmp_path / "a.parquet")
    written = write_facts("files", find_files("", [str(tmp_path)], None)[0])
    assert array_of(written, "n.value").tolist() == list(range(50_000))
    assert pq.ParquetFile(written.facts.path).num_row_groups > 3


def test_other_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q\none\n")
    with pytest.raises(InvalidRequestError, match="is csv; facts are written of Parquet files"):
        list(write_all_facts([str(tmp_path / "a.csv")], []))


def test_numbers_that_do_not_fit_leave_the_other_columns_alone(tmp_path: Path) -> None:
    ids = pa.array([2**63, 1], pa.uint64())
    pq.write_table(pa.table({"id": ids, "q": ["one", "two"]}), tmp_path / "a.parquet")
    (written,) = write_all_facts([str(tmp_path)], [])
    assert isinstance(written, Shard)
    assert {name: one.kind for name, one in written.columns.items()} == {"id": None, "q": "text"}


def test_repeated_columns_and_missing_files_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["q", "q"])
    pq.write_table(table, tmp_path / "a.parquet")
    expected = f"{tmp_path}/a.parquet has several columns 'q'; rename all but one"
    assert list(write_all_facts([str(tmp_path)], [])) == [Problem("", expected)]
    with pytest.raises(InvalidRequestError) as refused:
        list(write_all_facts([str(tmp_path / "none.parquet")], []))
    assert [str(problem) for problem in refused.value.problems] == [f"{tmp_path}/none.parquet does not exist"]


def test_facts_of_a_file_in_the_root_folder_are_there() -> None:
    paths = [DataFile(store=LocalStore(), path=path, format="parquet") for path in ("/a.parquet", "a.parquet")]
    assert [facts_file(file).path for file in paths] == ["/_facts/a.parquet", "_facts/a.parquet"]
