"""Records that are kept: where, how long, and what happens to them when something goes wrong."""

import errno
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedstep.runtime import cache as module
from embedstep.runtime.cache import NO_CACHE, Cache, find_cache


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"EMBEDSTEP_CACHE": "/data/kept", "HOME": "/home/user"}, "/data/kept"),
        ({"EMBEDSTEP_CACHE": "off", "HOME": "/home/user"}, None),
        ({"EMBEDSTEP_CACHE": "", "HOME": "/home/user"}, "/home/user/.cache/embedstep"),
        ({"XDG_CACHE_HOME": "/caches", "HOME": "/home/user"}, "/caches/embedstep"),
        ({}, None),
    ],
)
def test_the_folder_is_that_of_other_programs_unless_it_is_named(
    environ: Mapping[str, str], folder: str | None
) -> None:
    is_named = bool(environ.get("EMBEDSTEP_CACHE"))
    assert find_cache(environ) == Cache(None if folder is None else Path(folder), is_named=is_named)


def test_records_are_found_again_counted_and_cleared(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept")
    assert (cache.read("a"), cache.size(), cache.clear()) == (None, (0, 0), 0)
    cache.write("a", {"rows": 3})
    cache.write("a", {"rows": 4})
    assert cache.read("a") == {"rows": 4}
    assert cache.size() == (1, len('{"rows": 4}'))
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert cache.clear() == len('{"rows": 4}')
    assert cache.read("a") is None


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", '{"rows": '])
def test_half_a_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert Cache(tmp_path).read("a") is None


def test_what_cannot_be_written_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for cache in (NO_CACHE, Cache(tmp_path / "file" / "kept")):
        cache.write("a", {})
        assert cache.read("a") is None
        assert cache.size() == (0, 0)


def test_the_records_that_were_used_least_recently_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 40)
    cache = Cache(tmp_path)
    for number in range(4):
        cache.write(f"{number}", {"number": number})  # 13 bytes
        os.utime(tmp_path / f"{number}.json", (number, number))
        if number == 2:
            assert cache.read("0") == {"number": 0}
    assert [cache.read(f"{number}") is not None for number in range(4)] == [True, False, True, True]


def test_several_writers_leave_a_whole_record(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: cache.write("a", {"number": [number] * 1_000}), range(64)))
    found = cache.read("a")
    assert found is not None
    assert len(set(found["number"])) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    json.loads((tmp_path / "a.json").read_text())


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two files to keep."""
    found = {"rows": tmp_path / "made.arrow", "ids.index": tmp_path / "made.index"}
    for name, file in found.items():
        file.write_bytes(name.encode() * 1_000)
    return found


def test_files_are_found_again_under_the_names_that_are_wanted(tmp_path: Path, files: dict[str, Path]) -> None:
    cache = Cache(tmp_path / "kept")
    assert (cache.about("a"), cache.restore("a", tmp_path.joinpath)) == (None, False)
    cache.keep("a", files, {"rows": 3})
    assert cache.about("a") == {"rows": 3}
    for copies in (False, True):
        assert cache.restore("a", lambda name: tmp_path / f"again {name}", copies=copies)
        for name, file in files.items():
            assert (tmp_path / f"again {name}").read_bytes() == file.read_bytes()
            # A file that is going to be changed has to be one of its own.
            assert (tmp_path / f"again {name}").samefile(file) is not copies
    records, size = cache.size()
    assert records == 1
    assert size > 13_000
    assert cache.clear() == size
    assert (cache.about("a"), cache.size()) == (None, (0, 0))
    assert files["rows"].exists()


def test_from_another_disk_files_are_copied_to_a_folder_that_the_user_has_named(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*paths: Path) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    Cache(tmp_path / "kept").keep("a", files)
    assert list((tmp_path / "kept").iterdir()) == []
    cache = Cache(tmp_path / "kept", is_named=True)
    cache.keep("a", files)
    files["rows"].unlink()
    assert cache.restore("a", lambda name: tmp_path / f"again {name}")
    assert (tmp_path / "again rows").read_bytes() == b"rows" * 1_000


def test_later_files_replace_those_of_the_same_key(tmp_path: Path, files: dict[str, Path]) -> None:
    cache = Cache(tmp_path / "kept")
    cache.keep("a", files, 1)
    cache.keep("a", {"rows": files["rows"]}, 2)
    assert cache.about("a") == 2
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["a"]
    assert cache.restore("a", lambda name: tmp_path / f"again {name}")
    assert not (tmp_path / "again ids.index").exists()


@pytest.mark.parametrize("damage", ["changed", "cut", "longer", "gone", "no record"])
def test_a_damaged_file_is_not_used(tmp_path: Path, files: dict[str, Path], damage: str) -> None:
    cache = Cache(tmp_path / "kept")
    cache.keep("a", files)
    kept = tmp_path / "kept" / "a"
    match damage:
        case "changed":
            (kept / "rows").write_bytes(b"ROWS" * 1_000)
        case "cut":
            os.truncate(kept / "rows", 3_999)
        case "longer":
            with (kept / "rows").open("ab") as opened:
                opened.write(b"more")
        case "gone":
            (kept / "ids.index").unlink()
        case _:
            (kept / "about.json").write_text("{")
    assert not cache.restore("a", lambda name: tmp_path / f"again {name}")
    assert not list(tmp_path.glob("again *"))


def test_half_of_the_files_is_none(tmp_path: Path, files: dict[str, Path]) -> None:
    """Where the disk is full, nothing is left of what was put there."""
    cache = Cache(tmp_path / "kept")
    cache.keep("a", files)
    (tmp_path / "again").mkdir()
    places = {"rows": tmp_path / "again" / "rows", "ids.index": tmp_path / "missing" / "ids.index"}
    assert not cache.restore("a", places.__getitem__)
    assert not list((tmp_path / "again").iterdir())


def test_what_takes_much_of_the_disk_is_not_kept(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "kept")
    for limit, is_kept in (("_MOST_BYTES", False), ("_MOST_OF_FREE_SPACE", False), ("", True)):
        with monkeypatch.context() as patch:
            if limit:
                patch.setattr(module, limit, 1e-12)
            cache.keep("a", files)
        assert cache.restore("a", lambda name: tmp_path / f"again {name}") is is_kept


def test_files_that_were_used_least_recently_are_removed(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "kept")
    monkeypatch.setattr(module, "_MOST_BYTES", 30_000)
    for number, key in enumerate("abc"):
        cache.keep(key, files)
        os.utime(tmp_path / "kept" / key, (number, number))
        if key == "b":
            assert cache.restore("a", lambda name: tmp_path / f"again {name}")
    assert [cache.restore(key, lambda name: tmp_path / f"again {name}") for key in "abc"] == [True, False, True]
