"""Artifacts that steps pass on: rows and models, stored by ZenML as folders."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from zenml.enums import ArtifactType
from zenml.materializers.base_materializer import BaseMaterializer
from zenml.utils import io_utils

from embedstep.output.result import with_current_names


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Rows that `prepare_data` has written.

    Attributes:
        path: folder with `<dataset>.parquet` for each dataset.
        fingerprint: SHA-256 of the rows, which ZenML's cache compares.
        kept: removes the folder when the object is garbage-collected.
    """

    path: Path
    fingerprint: str
    kept: TemporaryDirectory[str] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedder:
    """A trained model with its result. Usable as a path: `SentenceTransformer(os.fspath(embedder))`.

    Attributes:
        path: folder with `result.json` and, if something was trained, `model/`.
        kept: removes the folder when the object is garbage-collected.
    """

    path: Path
    kept: TemporaryDirectory[str] | None = field(default=None, repr=False, compare=False)

    @property
    def model(self) -> Path:
        """Folder of the model."""
        return self.path / "model"

    @property
    def result(self) -> Mapping[str, Any]:
        """The `result.json` of the training."""
        found: dict[str, Any] = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        return with_current_names(found)

    @property
    def status(self) -> str:
        """`trained`, or `unchanged` or `superseded` if nothing was trained; then there is no `model`."""
        return self.result["skip_reason"] or "trained"

    def __fspath__(self) -> str:
        """Return the folder of the model."""
        return os.fspath(self.model)


class RowsMaterializer(BaseMaterializer):
    """Stores rows. The cache compares their fingerprint."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Rows,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: Rows) -> None:
        """Copy the files to the artifact store."""
        io_utils.copy_dir(str(data.path), os.path.join(self.uri, "rows"))  # noqa: PTH118 - a URI of any store
        with self.artifact_store.open(self._facts, "w") as stream:
            stream.write(json.dumps({"fingerprint": data.fingerprint}))

    def load(self, data_type: type[Any]) -> Rows:
        """Copy the files from the artifact store."""
        with self.artifact_store.open(self._facts, "r") as stream:
            return Rows(path=_copy(self, "rows"), fingerprint=json.loads(stream.read())["fingerprint"])

    @property
    def _facts(self) -> str:
        return os.path.join(self.uri, "facts.json")  # noqa: PTH118 - a URI of any store

    def extract_metadata(self, data: Rows) -> dict[str, Any]:
        """Show the fingerprint."""
        return {"fingerprint": data.fingerprint}

    def compute_content_hash(self, data: Rows) -> str:
        """Return the fingerprint in place of ZenML's own id, which differs in each run."""
        return data.fingerprint


class EmbedderMaterializer(BaseMaterializer):
    """Stores the folder of a model without loading it."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Embedder,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def save(self, data: Embedder) -> None:
        """Copy the folder to the artifact store."""
        io_utils.copy_dir(str(data.path), os.path.join(self.uri, "embedder"))  # noqa: PTH118 - a URI of any store

    def load(self, data_type: type[Any]) -> Embedder:
        """Copy the folder from the artifact store."""
        return Embedder(path=_copy(self, "embedder"))

    def extract_metadata(self, data: Embedder) -> dict[str, Any]:
        """Show digests, dimension and metrics."""
        result = data.result
        names = ("embedding_space_id", "weights_sha256", "dimension", "run_id", "request_fingerprint")
        facts = {name: result[name] for name in names if result[name] is not None}
        return {"status": data.status, **facts, **result["metrics"]}

    def compute_content_hash(self, data: Embedder) -> str | None:
        """Return the digest of the weights."""
        weights: str | None = data.result["weights_sha256"]
        return weights


def _copy(materializer: BaseMaterializer, name: str) -> Path:
    with materializer.get_temporary_directory(delete_at_exit=False) as folder:
        target = Path(folder) / name
        io_utils.copy_dir(os.path.join(materializer.uri, name), str(target))  # noqa: PTH118 - a URI of any store
    return target
