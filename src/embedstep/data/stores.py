"""Where files lie: this machine's folders, or anything that fsspec opens by its URL.

Both answer the same few questions, so that what counts as a dataset (`sources`) is decided in one place for both.
fsspec is imported for URLs alone, since most runs read local files and the import is slow.
"""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from embedstep.errors import CannotStartError, EmbedstepError, InvalidRequestError, Problem


class Store(Protocol):
    """Questions to a place with files; every path is in the store's own form."""

    @property
    def local(self) -> bool:
        """Whether the files lie on this machine and can be mapped into memory."""

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder at `path`."""

    def is_file(self, path: str) -> bool:
        """Whether there is a file at `path`."""

    def file_names(self, folder: str) -> list[str]:
        """Return the names of the files directly in `folder`, sorted."""

    def matches(self, pattern: str) -> list[str]:
        """Return the paths of the files that `pattern` matches, sorted; `**` stands for any folders."""

    def shown(self, path: str) -> str:
        """Return `path` as a person would write it."""

    def open(self, path: str) -> BinaryIO:
        """Open the file at `path` for reading its bytes."""


@dataclass(frozen=True, slots=True)
class LocalStore:
    """The folders of this machine; relative paths start in the current folder."""

    local: bool = True

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder at `path`."""
        return Path(path).is_dir()

    def is_file(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        return Path(path).is_file()

    def file_names(self, folder: str) -> list[str]:
        """Return the names of the files directly in `folder`, sorted."""
        return sorted(child.name for child in Path(folder).iterdir() if child.is_file())

    def matches(self, pattern: str) -> list[str]:
        """Return the paths of the files that `pattern` matches, sorted; `**` stands for any folders."""
        # Path.glob takes no absolute pattern, and before Python 3.13 its `**` ends in folders only.
        return sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207

    def shown(self, path: str) -> str:
        """Return `path` as it is."""
        return path

    def open(self, path: str) -> BinaryIO:
        """Open the file at `path` for reading its bytes."""
        return Path(path).open("rb")


@dataclass(frozen=True, slots=True)
class UrlStore:
    """A file system of fsspec.

    Attributes:
        system: the fsspec file system.
        local: always False.
    """

    system: Any
    local: bool = False

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder at `path`."""
        return bool(self.system.isdir(path))

    def is_file(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        return bool(self.system.isfile(path))

    def file_names(self, folder: str) -> list[str]:
        """Return the names of the files directly in `folder`, sorted."""
        entries = self.system.ls(folder, detail=True)
        return sorted(entry["name"].rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file")

    def matches(self, pattern: str) -> list[str]:
        """Return the paths of the files that `pattern` matches, sorted; `**` stands for any folders."""
        found = self.system.glob(pattern, detail=True)
        return sorted(path for path, entry in found.items() if entry["type"] == "file")

    def shown(self, path: str) -> str:
        """Return `path` with its protocol."""
        return str(self.system.unstrip_protocol(path))

    def open(self, path: str) -> BinaryIO:
        """Open the file at `path` for reading its bytes."""
        return cast(BinaryIO, self.system.open(path, "rb"))


def store_of(where: str, given: str) -> tuple[Store, str]:
    """Return the store that `given` lies in, and its path there.

    Args:
        where: the dataset's place in the request.
        given: a local path (`~` is the home folder) or a URL with `://`.

    Raises:
        InvalidRequestError: the protocol of the URL is unknown, or the package that opens it is not installed.
    """
    if "://" not in given:
        return LocalStore(), str(Path(given).expanduser())
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(given)
    except ImportError as error:
        raise _refused(where, f"{given} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise _refused(where, f"{given} cannot be opened: {error}") from error
    return UrlStore(system), path


@contextmanager
def reaching(where: str, name: str, *, local: bool) -> Iterator[None]:
    """Turn the errors of a store into errors for the person who wrote the request.

    Args:
        where: the dataset's place in the request.
        name: the file or folder that is looked at.
        local: whether it lies on this machine.

    Raises:
        InvalidRequestError: there is no such file, or it may not be read.
        CannotStartError: a server could not be reached or has failed; trying again may help.
    """
    try:
        yield
    except EmbedstepError:
        raise
    except FileNotFoundError as error:
        raise _refused(where, f"{name} does not exist") from error
    except PermissionError as error:
        raise _refused(where, f"{name} may not be read: permission denied") from error
    except OSError as error:
        # An error without a number comes from a decoder, not from the system: the file itself is wrong.
        if not local and error.errno is not None:
            raise CannotStartError(f"{name} cannot be reached: {first_line(error)}") from error
        raise _refused(where, f"{name} cannot be read: {first_line(error)}") from error
    except Exception as error:  # the errors of servers belong to packages that may not even be installed
        if local:
            raise
        raise CannotStartError(f"{name} cannot be reached: {type(error).__name__}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without its full stop."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")


def _refused(where: str, message: str) -> InvalidRequestError:
    return InvalidRequestError([Problem(f"{where}.path", message)])
