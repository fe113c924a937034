"""Records that are kept: where, how long, and what happens to them when something goes wrong."""

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
    assert find_cache(environ) == Cache(None if folder is None else Path(folder))


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
