"""What a published model says of itself in a file next to its weights: what it was trained from, and how good it is.

A model folder is handed over without the output folder that it came from, so nothing in the file is a path of the
machine that trained it: of absolute paths only the last part is left.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedstep.output.result import read_json, write_json

FILE = "embedstep.json"
PROVENANCE_FORMAT = "embedstep.model/1"
_ABSOLUTE = re.compile(r"~?/(?:[^/\n]+/)+(?P<last>[^/\n]+)/?")
"""A text that is an absolute path of two parts or more; a prompt such as `/no_think` is none."""
_QUOTED = re.compile(r"(?P<quote>['\"])~?/(?:[^/'\"\n]+/)+(?P<last>[^/'\"\n]+)(?P=quote)")
"""The same in quotes, as a query names its files."""
_LOCAL_URI = ("sqlite:", "file:")


def write_provenance(model: Path, content: Mapping[str, Any]) -> None:
    """Write the file into the folder of a model.

    Args:
        model: the folder.
        content: plain data, whose absolute paths are cut to their last part.
    """
    write_json(model / FILE, {"format": PROVENANCE_FORMAT, **without_local_paths(content)})


def read_provenance(model: Path) -> dict[str, Any] | None:
    """Return the content of the file in the folder of a model; None without one, or with one of another format."""
    try:
        found: dict[str, Any] = read_json(model / FILE)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") == PROVENANCE_FORMAT else None


def without_local_paths(value: Any) -> Any:
    """Return plain data in which absolute paths are cut to their last part, and URIs of local databases are null."""
    if isinstance(value, Mapping):
        return {key: without_local_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_local_paths(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if value.startswith(_LOCAL_URI):
        return None
    whole = _ABSOLUTE.fullmatch(value)
    return whole["last"] if whole else _QUOTED.sub(r"\g<quote>\g<last>\g<quote>", value)
