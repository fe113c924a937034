"""A saved adapter: it has the weights of its own only, names the model that it belongs to, and says what that was."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.output.result import read_json, read_json_or_empty, write_json
from embedstep.output.weights import BASE_DIGEST, base_digest, listed_modules

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedAdapter:
    """An adapter that was saved alone.

    Attributes:
        folder: folder of the transformer module with the adapter.
        base: folder or hub id of the model that it belongs to.
        revision: branch, tag or commit of a base on the hub.
        digest: SHA-256 of the base that it was trained on; None for an adapter of another program.
    """

    folder: Path
    base: str
    revision: str | None
    digest: str | None

    @property
    def local_base(self) -> Path | None:
        """Folder of the base; None if it is not on this machine by that name."""
        folder = Path(self.base).expanduser()
        return folder if folder.is_dir() else None

    def mismatch(self, base: Path) -> str:
        """Say that the base has changed since the adapter was trained; empty if it has not, or that is not known."""
        found = base_digest(base)
        if self.digest is None or found == self.digest:
            return ""
        return (
            f"is an adapter of {self.base}, whose weights or tokenizer have changed since it was trained (SHA-256 "
            f"{self.digest[:12]} then, {found[:12]} now); restore them, or train the adapter again"
        )


def saved_adapter(model: Path) -> SavedAdapter | None:
    """Return the adapter of a saved model; None for a model with its own weights.

    Args:
        model: a folder that sentence-transformers has saved.

    Raises:
        ValueError: a file is not what its name says, such as JSON that is cut off.
    """
    return _adapter_in(transformer_folder(model)) if listed_modules(model) else None


def _adapter_in(folder: Path) -> SavedAdapter | None:
    if not (folder / ADAPTER_CONFIG).is_file() or (folder / "config.json").is_file():
        return None
    config: dict[str, Any] = read_json(folder / ADAPTER_CONFIG)
    return SavedAdapter(
        folder=folder,
        base=str(config.get("base_model_name_or_path") or ""),
        revision=config.get("revision"),
        digest=read_json_or_empty(folder / BASE_DIGEST).get("sha256"),
    )


def transformer_folder(model: Path) -> Path:
    """Return the folder of a saved model's first module."""
    listed = listed_modules(model)
    return model / str(listed[0]["path"]) if listed else model


def weights_folder(transformer: Path) -> Path:
    """Return the folder with a transformer's configuration and weights: its own, or that of an adapter's base.

    Args:
        transformer: folder of the module.
    """
    adapter = _adapter_in(transformer)
    base = adapter.local_base if adapter else None
    return transformer if base is None else transformer_folder(base)


def record_base(model: Path, base: str, revision: str | None, digest: str | None) -> None:
    """Write into a saved adapter what it belongs to.

    Args:
        model: folder of the model.
        base: folder or hub id of the base.
        revision: branch, tag or commit of a base on the hub.
        digest: SHA-256 of the base.
    """
    folder, local = transformer_folder(model), Path(base).expanduser()
    named = {"base_model_name_or_path": str(local.resolve()) if local.exists() else base, "revision": revision}
    write_json(folder / ADAPTER_CONFIG, read_json(folder / ADAPTER_CONFIG) | named)
    write_json(folder / BASE_DIGEST, {"sha256": digest})
