"""File systems of datasets: local folders, and everything that fsspec opens by a URL.

Both have one interface, so that files are listed (`sources`) in the same way. fsspec is imported only for URLs, because
the import is slow and most runs read local files.
"""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from embedstep.errors import CannotStartError, EmbedstepError, InvalidRequestError, first_line

_TAGS = ("ETag", "etag", "md5Hash", "md5", "checksum", "content_md5", "generation", "mtime", "LastModified")
"""What stores say of a file that changes with its content, by fsspec's names for it."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes with a file's content.

    Attributes:
        tag: the stamp itself.
        changed: time of the last change, in seconds since 1970; 0 where a tag follows from the content.
    """

    tag: str
    changed: float


@dataclass(frozen=True, slots=True)
class LocalStore:
    """The local file system; relative paths start in the current folder."""

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
        """Return the paths of the files that `pattern` matches, sorted; `**` matches folders at any depth."""
        # Path.glob refuses absolute patterns, and before Python 3.13 its `**` matches folders only.
        return sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207

    def shown(self, path: str) -> str:
        """Return `path` unchanged."""
        return path

    def size(self, path: str) -> int:
        """Return the bytes of the file at `path`."""
        return Path(path).stat().st_size

    def open(self, path: str) -> BinaryIO:
        """Open the file at `path` for reading its bytes."""
        return Path(path).open("rb")

    def place(self, file: Path, path: str) -> None:
        """Copy a local file to `path`, where it appears complete or not at all."""
        partial = Path(f"{path}.{os.getpid()}.partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, partial)
        partial.replace(path)

    def stamp(self, path: str) -> Stamp | None:
        """Return what changes with the content of the file at `path`."""
        found = Path(path).stat()
        tag = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino} {found.st_dev}"
        return Stamp(tag, max(found.st_mtime, found.st_ctime))


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
        """Return the paths of the files that `pattern` matches, sorted; `**` matches folders at any depth."""
        found = self.system.glob(pattern, detail=True)
        return sorted(path for path, entry in found.items() if entry["type"] == "file")

    def shown(self, path: str) -> str:
        """Return `path` with its protocol."""
        return str(self.system.unstrip_protocol(path))

    def size(self, path: str) -> int:
        """Return the bytes of the file at `path`; 0 where its server does not say."""
        return int(self.system.size(path) or 0)

    def open(self, path: str) -> BinaryIO:
        """Open the file at `path` for reading its bytes."""
        return cast(BinaryIO, self.system.open(path, "rb"))

    def place(self, file: Path, path: str) -> None:
        """Copy a local file to `path`."""
        self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.system.put_file(str(file), path)

    def stamp(self, path: str) -> Stamp | None:
        """Return what changes with the content of the file at `path`; None where the store does not say."""
        found = self.system.info(path)
        tags = [f"{name} {found[name]}" for name in _TAGS if found.get(name)]
        return Stamp(f"{found.get('size')} {' '.join(tags)}", 0.0) if tags else None


Store = LocalStore | UrlStore


def find_store(where: str, given: str) -> tuple[Store, str]:
    """Find the file system of a path or URL, and return it with the path there.

    Args:
        where: path of the dataset in the request.
        given: a local path (`~` is the home folder) or a URL with `://`.

    Raises:
        InvalidRequestError: the URL's protocol is unknown, the package for it is not installed, or `~` has no folder.
    """
    if "://" not in given:
        try:
            return LocalStore(), str(Path(given).expanduser())
        except RuntimeError as error:  # `~somebody` without a home folder
            raise _refused(where, f"{given} does not exist: {error}") from error
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(given)
    except ImportError as error:
        raise _refused(where, f"{given} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise _refused(where, f"{given} cannot be opened: {error}") from error
    return UrlStore(system), path


@contextmanager
def translate_store_errors(where: str, name: str, *, local: bool) -> Iterator[None]:
    """Translate the errors of a file system.

    Args:
        where: path of the dataset in the request.
        name: the file or folder that is read.
        local: whether it is on this machine.

    Raises:
        InvalidRequestError: the file does not exist or may not be read.
        CannotStartError: a server could not be reached or has failed; a retry may help.
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
        # An OSError without errno comes from a decoder, not from the system: the file itself is wrong.
        if not local and error.errno is not None:
            raise CannotStartError(f"{name} cannot be reached: {first_line(error)}") from error
        raise _refused(where, f"{name} cannot be read: {first_line(error)}") from error
    except Exception as error:  # servers' errors have types of packages that may not be installed
        if local:
            raise
        raise CannotStartError(f"{name} cannot be reached: {type(error).__name__}: {first_line(error)}") from error


def _refused(where: str, message: str) -> InvalidRequestError:
    return InvalidRequestError.at(f"{where}.path", message)
