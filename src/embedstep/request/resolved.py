"""A request as it is written down beside what came of it."""

from typing import Any

from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.schema import TrainRequest

REQUEST_FORMAT = "embedstep.request/1"


def resolved(request: TrainRequest) -> dict[str, Any]:
    """Return a request with every default and its fingerprint, for a JSON file.

    Arguments are as they were written: a default that is written down would count as chosen.
    """
    return {
        "format": REQUEST_FORMAT,
        "fingerprint": request_fingerprint(request),
        "request": {**request.model_dump(mode="json"), "arguments": to_lossless(request.arguments)},
    }
