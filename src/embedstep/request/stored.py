"""A request as embedstep stores it with its results (`request.json`, a checkpoint), and reads it back."""

from collections.abc import Mapping
from os.path import relpath
from pathlib import Path
from typing import Any

from embedstep.request.arguments.lossless import to_lossless
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.renamed import with_current_fields
from embedstep.request.schema import TrainRequest

REQUEST_FORMAT = "embedstep.request/1"


def request_to_json(request: TrainRequest, output: Path | None = None) -> dict[str, Any]:
    """Return a request with its defaults and its fingerprint as plain data.

    Arguments have no defaults filled in: a written value counts as chosen by the user.

    Args:
        request: the request.
        output: output folder that it is written to. The folder may move together with the files of the request, so
            the folder from which their paths start, `working_directory`, is relative to it.
    """
    return {
        "format": REQUEST_FORMAT,
        "fingerprint": request_fingerprint(request),
        **({} if output is None else {"working_directory": relpath(Path.cwd(), output)}),
        "request": {**request.model_dump(mode="json"), "arguments": to_lossless(request.arguments)},
    }


def request_from_json(data: Mapping[str, Any]) -> TrainRequest:
    """Read what `request_to_json` of this release or of 0.1.0 has written."""
    return TrainRequest.model_validate(with_current_fields(data["request"]))
