"""A folder of this machine and a file system of fsspec answer the same questions alike."""

from pathlib import Path

import pytest

from embedstep.data.stores import LocalStore, Store, UrlStore


@pytest.fixture(params=["local", "url"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, str]:
    """A store with three files, and the folder that they are in."""
    from fsspec.implementations.local import LocalFileSystem

    for name in ("b.csv", "a.csv", "deep/er/c.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return (LocalStore() if request.param == "local" else UrlStore(LocalFileSystem())), str(tmp_path)


def test_a_folder_has_the_files_directly_in_it(store: tuple[Store, str]) -> None:
    place, folder = store
    assert place.file_names(folder) == ["a.csv", "b.csv"]
    assert (place.is_folder(folder), place.is_file(folder)) == (True, False)
    assert (place.is_folder(f"{folder}/a.csv"), place.is_file(f"{folder}/a.csv")) == (False, True)
    assert not place.is_folder(f"{folder}/none")


def test_two_stars_stand_for_any_folders(store: tuple[Store, str]) -> None:
    place, folder = store
    assert place.matches(f"{folder}/**/*.csv") == [f"{folder}/{name}" for name in ("a.csv", "b.csv", "deep/er/c.csv")]
    assert place.matches(f"{folder}/*") == [f"{folder}/a.csv", f"{folder}/b.csv"]


def test_a_file_is_opened_for_its_bytes(store: tuple[Store, str]) -> None:
    place, folder = store
    with place.open(f"{folder}/a.csv") as file:
        assert file.read() == b"a.csv"


def test_a_file_has_a_size(store: tuple[Store, str]) -> None:
    place, folder = store
    assert place.size(f"{folder}/a.csv") == 5
