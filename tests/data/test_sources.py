import bz2
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.errors import CannotStartError

Read = Callable[..., DatasetFacts]
Refusal = Callable[..., list[str]]


def write_csv(path: str, *rows: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(["q,a", *rows, ""]))


def save_arrow(folder: str, rows: int = 2) -> None:
    """Lay out one dataset as `Dataset.save_to_disk` does."""
    Path(folder).mkdir(parents=True)
    table = pa.table({"q": [f"q{row}" for row in range(rows)], "a": ["a"] * rows})
    with pa.ipc.new_stream(f"{folder}/data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}
    Path(folder, "state.json").write_text(json.dumps(state))
    Path(folder, "dataset_info.json").write_text("{}")


def test_files_of_a_folder_are_read_in_the_order_of_their_names(read: Read) -> None:
    write_csv("data/part-2.csv", "c,c")
    write_csv("data/part-1.csv", "a,a", "b,b")
    write_csv("whole.csv", "a,a", "b,b", "c,c")
    assert read("data", anchor="q").fingerprint == read("whole.csv", anchor="q").fingerprint


def test_marks_and_notes_in_a_folder_are_not_data(read: Read) -> None:
    write_csv("data/a.csv", "a,a")
    write_csv("data/.hidden.csv", "b,b")
    write_csv("data/_temporary.csv", "c,c")
    Path("data/README.md").write_text("notes")
    assert read("data/", anchor="q").rows == 1


def test_a_glob_with_two_stars_reaches_deeper_folders(read: Read) -> None:
    write_csv("data/a.csv", "a,a")
    write_csv("data/deep/er/b.csv", "b,b")
    assert read("data/**/*.csv", anchor="q").rows == 2
    assert read("data/*.csv", anchor="q").rows == 1


def test_an_absolute_glob_is_read(read: Read, tmp_path: Path) -> None:
    write_csv("data/a.csv", "a,a")
    assert read(f"{tmp_path}/data/?.csv", anchor="q").rows == 1


def test_a_file_name_with_brackets_is_no_glob(read: Read) -> None:
    write_csv("data[1].csv", "a,a")
    assert read("data[1].csv", anchor="q").rows == 1


def test_a_list_is_read_in_its_own_order(read: Read) -> None:
    write_csv("b.csv", "b,b")
    write_csv("a.csv", "a,a")
    write_csv("whole.csv", "b,b", "a,a")
    assert read(["b.csv", "a.csv"], anchor="q").fingerprint == read("whole.csv", anchor="q").fingerprint


def test_a_tilde_is_the_home_folder(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_csv("a.csv", "a,a")
    assert read("~/a.csv", anchor="q").rows == 1


def packed(text: bytes, suffix: str) -> bytes:
    match suffix:
        case "gz":
            return gzip.compress(text)
        case "bz2":
            return bz2.compress(text)
        case _:
            return bytes(pa.compress(text, codec="zstd", asbytes=True))


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst", "GZ"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "A.JSON", "a.txt"])
def test_text_files_may_be_packed(read: Read, name: str, suffix: str) -> None:
    contents = {"csv": "text,a\nx,y\n", "tsv": "text\ta\nx\ty\n", "txt": "x\n"}
    content = contents.get(name.split(".")[1], '{"text": "x", "a": "y"}\n').encode()
    # In two parts, as `cat` joins packed files.
    parts = [packed(part, suffix.lower()) for part in (content, content.splitlines(keepends=True)[-1])]
    Path(f"{name}.{suffix}").write_bytes(b"".join(parts))
    assert read(f"{name}.{suffix}", anchor="text").rows == 2


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
@pytest.mark.parametrize("kept", [-5, 3])
def test_a_packed_file_that_was_cut_off_is_refused(refusal: Refusal, suffix: str, kept: int) -> None:
    Path(f"a.csv.{suffix}").write_bytes(packed(b"q,a\n" + b"x,y\n" * 1_000, suffix)[:kept])
    (problem,) = refusal(f"a.csv.{suffix}", anchor="q")
    assert problem.startswith(f"data.train.docs.path: a.csv.{suffix} cannot be read")


def test_a_text_next_to_data_is_a_note(read: Read) -> None:
    write_csv("data/a.csv", "a,a")
    Path("data/LICENSE.txt").write_text("notes\n")
    assert read("data", anchor="q").rows == 1
    assert read(["data/a.csv"], anchor="q").rows == 1
    assert read("data/*.txt", anchor="text").rows == 1


def test_what_is_not_there_is_refused_all_at_once(refusal: Refusal) -> None:
    Path("empty").mkdir()
    Path("notes.md").write_text("")
    Path("a.parquet.gz").write_text("")
    known = (
        ".parquet, .jsonl, .ndjson, .json, .csv, .tsv, .txt, .arrow, .xlsx, .xls, .xlsb or .ods "
        "(text also with .gz, .bz2 or .zst)"
    )
    assert refusal(["no.csv", "no/*.csv", "*.md", "empty", "notes.md", "a.parquet.gz"], anchor="q") == [
        "data.train.docs.path: no.csv does not exist",
        "data.train.docs.path: no/*.csv matches no file",
        f"data.train.docs.path: *.md matches no data file; use {known}",
        f"data.train.docs.path: the folder empty has no data file; use {known}",
        f"data.train.docs.path: notes.md has no known format; use {known}",
        f"data.train.docs.path: a.parquet.gz has no known format; use {known}",
    ]


def test_a_home_folder_of_nobody_is_refused(refusal: Refusal) -> None:
    (problem,) = refusal("~nobody-of-that-name/a.csv", anchor="q")
    assert problem.startswith("data.train.docs.path: ~nobody-of-that-name/a.csv does not exist: ")


def test_mixed_formats_are_refused(refusal: Refusal) -> None:
    write_csv("data/a.csv", "a,a")
    Path("data/b.jsonl").write_text('{"q": "b"}\n')
    assert refusal("data", anchor="q") == [
        "data.train.docs.path: the files have several formats (csv: data/a.csv, jsonl: data/b.jsonl); "
        "select the files of one format, for example by a glob"
    ]


def test_a_file_named_twice_is_refused(refusal: Refusal) -> None:
    write_csv("a.csv", "a,a")
    assert refusal(["*.csv", "a.csv"], anchor="q") == [
        "data.train.docs.path: a.csv is named 2 times, so its rows would count 2 times"
    ]


def test_a_file_that_may_not_be_read_is_refused(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv("a.csv", "a,a")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The tests may run as root, whom no mode of a file keeps out.
    monkeypatch.setattr("embedstep.data.stores.LocalStore.open", denied)
    assert refusal("a.csv", anchor="q") == ["data.train.docs.path: a.csv may not be read: permission denied"]


def test_a_saved_dataset_is_read(read: Read) -> None:
    save_arrow("saved")
    assert read("saved", anchor="q", positive="a").rows == 2


def test_a_saved_dataset_with_splits_needs_the_name_of_one(read: Read, refusal: Refusal) -> None:
    save_arrow("saved/train", rows=3)
    save_arrow("saved/test", rows=1)
    Path("saved/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert read("saved", anchor="q", split="train").rows == 3
    assert read("saved", anchor="q", split="test").rows == 1
    assert refusal("saved", anchor="q") == [
        "data.train.docs.split: saved has several splits; name one of them: test, train"
    ]
    assert refusal("saved", anchor="q", split="dev") == [
        "data.train.docs.split: saved has no split 'dev'; its splits are test, train"
    ]


def test_a_slice_of_a_split_leads_to_hold_out(refusal: Refusal) -> None:
    write_csv("a.csv", "a,a")
    (found,) = refusal("a.csv", anchor="q", split="train[:90%]")
    assert found.endswith(
        "remove split, and write hold_out: {share: 0.1} in data.train to keep rows for the evaluation"
    )


@pytest.mark.parametrize("path", ["a.csv", "folder", "saved"])
def test_a_split_without_splits_is_refused(refusal: Refusal, path: str) -> None:
    write_csv("a.csv", "a,a")
    write_csv("folder/a.csv", "a,a")
    save_arrow("saved")
    assert refusal(path, anchor="q", split="train") == [
        f"data.train.docs.split: split is for saved datasets with several splits, and {path} is not one; remove split"
    ]


@pytest.mark.parametrize("state", ["{", "[]", "{}", '{"_data_files": []}'])
def test_a_saved_dataset_without_a_description_is_refused(refusal: Refusal, state: str) -> None:
    save_arrow("saved")
    Path("saved/state.json").write_text(state)
    assert refusal("saved", anchor="q") == [
        "data.train.docs.path: saved/state.json does not describe a saved dataset: it lists no _data_files"
    ]


def test_a_saved_dataset_that_lacks_a_file_is_refused(refusal: Refusal) -> None:
    save_arrow("saved")
    Path("saved/data-00000-of-00001.arrow").unlink()
    assert refusal("saved", anchor="q") == ["data.train.docs.path: saved/data-00000-of-00001.arrow does not exist"]


def test_what_the_datasets_library_saves_is_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"q": ["x", "y", "z"], "label": [0, 1, 1]})
    rows.save_to_disk("one", num_shards=2)
    DatasetDict({"train": rows, "test": rows.select([2])}).save_to_disk("several")
    assert read("one", anchor="q", label="label").label_values == {0: 1, 1: 2}
    assert read("several", anchor="q", label="label", split="test").label_values == {1: 1}


def test_fsspec_urls_of_files_folders_and_globs_are_read(read: Read, refusal: Refusal) -> None:
    memory = fsspec.filesystem("memory")
    pq.write_table(pa.table({"q": ["x", "y"]}), "part.parquet")
    for name in ("1", "2"):
        memory.pipe_file(f"/bucket/part-{name}.parquet", Path("part.parquet").read_bytes())
    memory.pipe_file("/saved/data.arrow", b"")
    assert read("memory://bucket/part-1.parquet", anchor="q").rows == 2
    assert read("memory://bucket", anchor="q").rows == 4
    assert read("memory://bucket/*.parquet", anchor="q").rows == 4
    assert refusal("memory://bucket/none.parquet", anchor="q") == [
        "data.train.docs.path: memory://bucket/none.parquet does not exist"
    ]
    assert refusal("memory://bucket/*.parquet", anchor="text")[0].startswith(
        "data.train.docs.columns.anchor: memory:///bucket/part-1.parquet has no column 'text' (nor have 1 more files)"
    )


def test_text_behind_a_url_starts_again_with_numbers(read: Read) -> None:
    fsspec.filesystem("memory").pipe_file("/labels.jsonl", b'{"q": "x", "s": 1}\n{"q": "y", "s": 0.5}\n')
    assert read("memory://labels.jsonl", anchor="q", label="s").columns == {"anchor": "text", "label": "number"}


def test_an_unknown_protocol_is_refused(refusal: Refusal) -> None:
    assert refusal("warp://x/a.csv", anchor="q") == [
        "data.train.docs.path: warp://x/a.csv cannot be opened: Protocol not known: warp"
    ]


def test_a_protocol_whose_package_is_missing_is_refused(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    (problem,) = refusal("gs://bucket/a.csv", anchor="q")
    assert problem.startswith("data.train.docs.path: gs://bucket/a.csv needs a package that is not installed: ")
    assert "gcsfs" in problem


@pytest.mark.parametrize("error", [ConnectionError(111, "refused"), RuntimeError("no credentials")])
def test_a_server_that_does_not_answer_may_be_tried_again(
    read: Read, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.isdir", unreachable)
    with pytest.raises(CannotStartError, match=r"^memory://a\.csv cannot be reached: "):
        read("memory://a.csv", anchor="q")
