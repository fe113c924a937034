"""The request of a pod: from its environment, and compared with what the controller starts there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.launch.kubernetes.pod import load_pod_request
from embedstep.request.loading import load_request

Build = Callable[..., dict[str, Any]]
JOB = {"image": "embedstep:1", "output": "/shared/docs", "volumes": [{"claim": "shared", "path": "/shared"}]}
LAUNCH = {"kind": "trainjob", "nodes": 2, "processes_per_node": 2, "trainjob": JOB}


def environ(document: dict[str, Any], processes: str = "2") -> dict[str, str]:
    return {"EMBEDSTEP_REQUEST": json.dumps(document), "PET_NPROC_PER_NODE": processes}


def test_a_pod_reads_its_request_and_where_it_writes(request_of: Build) -> None:
    document = request_of(launch=LAUNCH, arguments={"use_cpu": True})
    assert load_pod_request(environ(document)) == (load_request(json.dumps(document)), Path("/shared/docs"))


def test_a_pod_without_a_request_is_refused() -> None:
    with pytest.raises(InvalidRequestError):
        load_pod_request({})


@pytest.mark.parametrize(
    ("launch", "processes", "message"),
    [
        ({"kind": "local"}, "2", "the request has launch.kind: local; use embedstep run"),
        (LAUNCH, "1",
         "the controller sets PET_NPROC_PER_NODE=1, and the request starts 2 processes on each node"),
    ],
)  # fmt: skip
def test_what_is_not_for_this_pod_is_reported(
    request_of: Build, launch: dict[str, Any], processes: str, message: str
) -> None:
    document = request_of(launch=launch, arguments={"use_cpu": True})
    with pytest.raises(CannotStartError) as caught:
        load_pod_request(environ(document, processes))
    assert str(caught.value).startswith(message)
