"""An artifact store for ZenML that is no folder: the files are in memory, behind a scheme as those of a cloud are."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import fsspec
from zenml.artifact_stores import BaseArtifactStore, BaseArtifactStoreConfig, BaseArtifactStoreFlavor

_SCHEME = "memory://"
FILES = fsspec.filesystem("memory")


class MemoryStoreConfig(BaseArtifactStoreConfig):
    SUPPORTED_SCHEMES: ClassVar[set[str]] = {_SCHEME}


class MemoryStore(BaseArtifactStore):
    """What ZenML's stores for clouds do, with fsspec."""

    def open(self, path: Any, mode: str = "r") -> Any:
        return FILES.open(path, mode)

    def copyfile(self, src: Any, dst: Any, overwrite: bool = False) -> None:
        FILES.copy(src, dst)

    def exists(self, path: Any) -> bool:
        return bool(FILES.exists(path))

    def glob(self, pattern: Any) -> list[Any]:
        return [f"{_SCHEME}{path}" for path in FILES.glob(pattern)]

    def isdir(self, path: Any) -> bool:
        return bool(FILES.isdir(path))

    def listdir(self, path: Any) -> list[Any]:
        return [found.rpartition("/")[2] for found in FILES.ls(path, detail=False)]

    def makedirs(self, path: Any) -> None:
        FILES.makedirs(path, exist_ok=True)

    def mkdir(self, path: Any) -> None:
        FILES.makedirs(path, exist_ok=True)

    def remove(self, path: Any) -> None:
        FILES.rm_file(path)

    def rename(self, src: Any, dst: Any, overwrite: bool = False) -> None:
        FILES.mv(src, dst)

    def rmtree(self, path: Any) -> None:
        FILES.rm(path, recursive=True)

    def stat(self, path: Any) -> Any:
        return FILES.info(path)

    def size(self, path: Any) -> int:
        return int(FILES.size(path))

    def walk(self, top: Any, topdown: bool = True, onerror: Any = None) -> Iterable[tuple[Any, list[Any], list[Any]]]:
        return self._walked(top)

    def _walked(self, top: Any) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        for folder, folders, files in FILES.walk(top):
            yield f"{_SCHEME}{folder}", folders, files


class MemoryStoreFlavor(BaseArtifactStoreFlavor):
    @property
    def name(self) -> str:
        return "memory"

    @property
    def config_class(self) -> type[MemoryStoreConfig]:
        return MemoryStoreConfig

    @property
    def implementation_class(self) -> type[MemoryStore]:
        return MemoryStore
