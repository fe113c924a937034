"""The files of token ids next to prepared rows: `<rows>.<tokenizer>.<boot>.index` and `.ids` (`tokens`)."""

import uuid
from pathlib import Path

from embedstep.runtime.digests import sha256_text

INDEX, IDS = ".index", ".ids"
_DIGITS = 16


class TokenFiles:
    """The files next to one file of rows."""

    def __init__(self, rows: Path) -> None:
        """Name the files after the rows and this machine.

        Memory that was not yet on disk when a machine stopped would leave an index without its ids, so a machine that
        has started again does not use its earlier files.

        Args:
            rows: file of prepared rows.
        """
        self._rows = rows
        self._boot = sha256_text(_this_boot())[:_DIGITS]

    def place(self, name: str) -> Path:
        """Return the file of a name: a key of rows and tokenizer, then `INDEX` or `IDS`."""
        key, _, kind = name.partition(".")
        return self._rows.with_name(f"{self._rows.stem}.{key}.{self._boot}.{kind}")

    def written(self) -> dict[str, Path]:
        """Return the files that hold token ids, by the names that `place` takes."""
        found: dict[str, Path] = {}
        for index in self._rows.parent.glob(f"*.{self._boot}{INDEX}"):
            ids = index.with_suffix(IDS)
            stem, _, key = index.name.removesuffix(f".{self._boot}{INDEX}").rpartition(".")
            if stem == self._rows.stem and ids.exists() and ids.stat().st_size:
                found |= {key + INDEX: index, key + IDS: ids}
        return found


def _this_boot() -> str:
    """Return what identifies this machine since its start, which processes in its containers share."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return uuid.uuid4().hex
