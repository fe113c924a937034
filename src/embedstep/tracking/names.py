"""Names of tags and metrics, and names and values within MLflow's limits."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedstep.runtime.digests import sha256_text

TRAINING_TAG = "embedstep.training_fingerprint"
"""Tag of runs and versions: fingerprint of the request and the training rows."""
SPACE_TAG = "embedstep.space_fingerprint"
"""Tag of versions: embedding space. Versions with the same value can share an index."""
MODEL_TAG, ROWS_TAG, STEPS_METRIC = "embedstep.model", "embedstep.training_rows", "cost/train_steps"
"""Two tags and a metric by which past runs are found to estimate a cost."""
PARAMETER_LIMITS = (6000, 500, 250)
"""Length limits of parameter values, of current servers first. The artifacts contain the full values."""
_MAX_NAME = 250
_FORBIDDEN = re.compile(r"[^\w\-. :/@]")
_AT = "_at_"


def metric_name(name: str) -> str:
    """Return a name that MLflow accepts: `ndcg@10` becomes `ndcg_at_10`."""
    return entry_name(name.replace("@", _AT))


def entry_name(name: str) -> str:
    """Return a name of a parameter or tag that MLflow accepts: forbidden characters become `_`."""
    return _FORBIDDEN.sub("_", name)[:_MAX_NAME]


def shortened(value: str, limit: int = PARAMETER_LIMITS[0]) -> str:
    """Cut a value to a number of characters, with a mark that says so."""
    mark = f"… ({len(value)} characters)"
    return value if len(value) <= limit else value[: limit - len(mark)] + mark


def training_rows(fingerprints: Sequence[str]) -> str:
    """Return the digest of all training rows, from those of the datasets."""
    return sha256_text(" ".join(fingerprints))


def flatten(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Turn nested sections into parameters: `{"model": {"path": "x"}}` into `{"model.path": "x"}`."""
    return {entry_name(path): value for path, value in _leaves(sections, "")}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    match value:
        case Mapping() if value:
            for key, inner in value.items():
                # `*` is the loss of all datasets. MLflow forbids it, and the path is clear without it.
                yield from _leaves(inner, path if key == "*" else f"{path}.{key}" if path else str(key))
        case Sequence() if value and not isinstance(value, str) and not all(_is_scalar(item) for item in value):
            for index, inner in enumerate(value):
                yield from _leaves(inner, f"{path}.{index}")
        case _:
            yield path, value


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) or value is None
