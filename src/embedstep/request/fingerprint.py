"""The identity of a request: the same meaning gives the same digest, whatever file or tool it came through."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from embedstep.request.schema import TrainRequest


def request_fingerprint(request: TrainRequest) -> str:
    """Return the SHA-256 of the request with all defaults filled in, as 64 hexadecimal digits.

    Key order, comments, short forms and spelled-out defaults do not change it, and neither does when it is to run or
    what it may go on from.
    """
    return digest_of_json(request.model_dump(mode="json", exclude={"schedule", "resume"}))


def training_fingerprint(
    request: TrainRequest, rows: Mapping[str, str], processes: int, code: Mapping[str, str] | None = None
) -> str:
    """Return the SHA-256 of what is trained on what: the same next week where neither request nor rows have changed.

    Where rows lie and up to when they count is left out, because the rows themselves are in; so is where the run is
    recorded, and what decides about the model afterwards.

    Args:
        request: the request.
        rows: fingerprint of the rows of each dataset by `<split>.<name>`.
        processes: processes that train together.
        code: digest of the code of other packages that trains, by its name.
    """
    sections = request.model_dump(mode="json", exclude=_NOT_TRAINED)
    for name in _OF_A_RUN:
        del sections["arguments"][name]
    of_others = {"code": dict(code)} if code else {}
    return digest_of_json({**sections, "data": dict(rows), "processes": processes, **of_others})


_NOT_TRAINED = {"data", "launch", "tracking", "promotion", "schedule", "skip_if_unchanged", "resume"}
_OF_A_RUN = ("output_dir", "overwrite_output_dir", "run_name", "logging_dir", "resume_from_checkpoint")
"""Arguments that say where a run goes and what it goes on from."""


def digest_of_json(value: Any) -> str:
    """Return the SHA-256 of plain data, whatever the order of its keys, as 64 hexadecimal digits."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
