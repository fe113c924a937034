"""A node other than the first: it ends as that has ended, or as its own processes."""

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedstep.errors import INTERRUPTED
from embedstep.launch import followers
from embedstep.launch.first_node import first_node
from embedstep.launch.followers import run_following_node
from embedstep.launch.instructions import RESTART
from embedstep.launch.nodes import read_node_info
from embedstep.request.fingerprint import request_fingerprint
from embedstep.request.loading import load_request
from embedstep.runtime.process import ProcessEnd
from embedstep.step import run_step
from tests.launch.test_first_node import FIRST, NOTHING, ended

SECOND = {
    "PET_NNODES": "2",
    "PET_NODE_RANK": "1",
    "PET_MASTER_ADDR": "127.0.0.1",
    "PET_MASTER_PORT": "29400",
    "PET_RDZV_ID": "one",
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_that_waits(
    output: Path, request_of: Callable[..., dict[str, Any]], number: signal.Signals
) -> None:
    """In a container it is the first process, for which the kernel keeps no other answer to a signal."""
    request = load_request(json.dumps(request_of(launch={"nodes": 2})))
    threading.Timer(8, os.kill, (os.getpid(), number)).start()
    assert run_step(request, output, environ=SECOND).exit_code == INTERRUPTED


@pytest.mark.parametrize("code", [0, 2, 3])
def test_a_node_that_comes_too_late_ends_as_the_first(
    output: Path, request_of: Callable[..., dict[str, Any]], code: int
) -> None:
    request = load_request(json.dumps(request_of(launch={"nodes": 2})))
    job = f"one/{request_fingerprint(request)[:12]}"
    with first_node(NOTHING, output, replace(FIRST, nodes=1, job=job), may_restart=False) as first:
        first.result = ended(code)
    assert run_step(request, output, environ=SECOND).exit_code == code


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([ProcessEnd(code=0)], 0),
        ([ProcessEnd(code=4)], 4),
        ([ProcessEnd(code=75)], 75),
        ([ProcessEnd(code=RESTART), ProcessEnd(code=RESTART), ProcessEnd(code=0)], 0),
        ([ProcessEnd(code=RESTART), ProcessEnd(code=1)], 1),
        # A signal may kill torchrun before it has installed its handlers.
        ([ProcessEnd(code=-signal.SIGTERM)], 75),
        ([ProcessEnd(code=-signal.SIGINT, signalled=signal.SIGINT)], 75),
        ([ProcessEnd(code=-signal.SIGSEGV)], 1),
    ],
)
def test_its_processes_run_until_none_has_to_start_again(
    output: Path,
    request_of: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    ends: list[ProcessEnd],
    code: int,
) -> None:
    request = load_request(json.dumps(request_of(launch={"nodes": 2, "max_restarts": 3})))
    left = iter(ends)
    monkeypatch.setattr(followers, "run_process", lambda command: next(left))
    found = run_following_node(request, output, read_node_info(SECOND), overwrite=False)
    assert (found.exit_code, found.node_rank) == (code, 1)
    assert list(left) == []
