"""The identity of a request: the same meaning gives the same digest, whatever file or tool it came through."""

import hashlib
import json

from embedstep.request.schema import TrainRequest


def request_fingerprint(request: TrainRequest) -> str:
    """Return the SHA-256 of the request with all defaults filled in, as 64 hexadecimal digits.

    Key order, comments, short forms and spelled-out defaults do not change it.
    """
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
