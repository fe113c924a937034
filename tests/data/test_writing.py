from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.errors import CannotStartError

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]
TARGET = Path("cache/train/docs.arrow")


def test_kept_rows_are_written_under_their_roles(read: Read) -> None:
    pq.write_table(pa.table({"s": [1, 0, 1], "q": ["x", "", "z"], "other": [1, 2, 3]}), "a.parquet")
    assert read("a.parquet", anchor="q", label="s", drop=True, write_to=TARGET).path == "cache/train/docs.arrow"
    with pa.ipc.open_stream(TARGET.read_bytes()) as reader:
        table = reader.read_all()
    assert (table.schema.names, table.schema.types) == (["anchor", "label"], [pa.string(), pa.int64()])
    assert table.to_pydict() == {"anchor": ["x", "z"], "label": [1, 1]}


def test_facts_have_no_path_without_writing(read: Read) -> None:
    pq.write_table(pa.table({"q": ["x"]}), "a.parquet")
    assert read("a.parquet", anchor="q").path is None


def test_batches_of_the_written_file_are_bounded(read: Read) -> None:
    table = pa.table({"q": ["x"] * 20_000})
    with pa.ipc.new_file("a.arrow", table.schema) as writer:
        writer.write_table(table)
    read("a.arrow", anchor="q", write_to=TARGET)
    with pa.ipc.open_stream(TARGET.read_bytes()) as reader:
        assert [batch.num_rows for batch in reader] == [8_192, 8_192, 3_616]


def test_what_is_written_reads_back_with_the_same_fingerprint(read: Read) -> None:
    pq.write_table(pa.table({"q": ["x", "y"], "d": [["a"], ["b", "c"]], "s": [[0.5], [1.0, 0.0]]}), "a.parquet")
    first = read("a.parquet", anchor="q", positive="d", label="s", write_to=TARGET)
    again = read(str(TARGET), anchor="anchor", positive="positive", label="label")
    assert again.fingerprint == first.fingerprint


def test_the_datasets_library_reads_what_is_written(read: Read) -> None:
    from datasets import Dataset

    pq.write_table(pa.table({"q": ["x", "y"], "s": [0.5, 1.0]}), "a.parquet")
    read("a.parquet", anchor="q", label="s", write_to=TARGET)
    assert Dataset.from_file(str(TARGET))[1] == {"anchor": "y", "label": 1.0}


def test_labels_that_turn_into_numbers_are_written_as_numbers_from_the_start(read: Read) -> None:
    Path("a.csv").write_text("q,s\n" + f"{'long ' * 200},1\n" * 9_000 + "y,0.5\n")
    assert read("a.csv", anchor="q", label="s", write_to=TARGET).rows == 9_001
    with pa.ipc.open_stream(TARGET.read_bytes()) as reader:
        assert reader.read_all()["label"].slice(8_999).to_pylist() == [1.0, 0.5]


def test_a_refusal_leaves_an_earlier_file_as_it_was(refusal: Refusal) -> None:
    TARGET.parent.mkdir(parents=True)
    TARGET.write_text("earlier")
    pq.write_table(pa.table({"q": ["x"] * 9_000 + [""]}), "a.parquet")
    refusal("a.parquet", anchor="q", write_to=TARGET)
    assert [(path.name, path.read_text()) for path in TARGET.parent.iterdir()] == [("docs.arrow", "earlier")]


def test_a_full_disk_stops_the_start_and_leaves_nothing(read: Read, limit_files: Callable[[int], None]) -> None:
    limit_files(1 << 20)
    pq.write_table(pa.table({"q": ["the same text compresses well"] * 60_000}), "a.parquet")
    with pytest.raises(CannotStartError, match=r"^the rows cannot be written to cache/train/docs\.arrow: "):
        read("a.parquet", anchor="q", write_to=TARGET)
    assert list(TARGET.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_stops_the_start(read: Read) -> None:
    pq.write_table(pa.table({"q": ["x"]}), "a.parquet")
    with pytest.raises(CannotStartError, match=r"^the rows cannot be written to a\.parquet/docs\.arrow: "):
        read("a.parquet", anchor="q", write_to=Path("a.parquet/docs.arrow"))
