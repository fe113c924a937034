"""An exception of a rank as an exit code and plain data."""

import errno
import os

import pytest

from embedstep.errors import CANNOT_START, FAILED, INTERRUPTED, OUT_OF_MEMORY, REFUSED, InvalidRequestError, Problem
from embedstep.worker.failures import describe


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("wrong"), FAILED),
        (MemoryError(), OUT_OF_MEMORY),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), CANNOT_START),
        (RuntimeError("IoError: No space left on device (os error 28)"), CANNOT_START),
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:4711"), INTERRUPTED),
        (RuntimeError("[gloo] Timed out waiting 1800000ms for recv operation to complete"), INTERRUPTED),
        (InvalidRequestError([Problem("loss.kind", "no such loss")]), REFUSED),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_error_has_the_code_of_what_would_help(error: BaseException, code: int) -> None:
    assert describe(error, 0).exit_code == code


def test_an_error_of_ours_has_problems_and_no_traceback() -> None:
    failure = describe(InvalidRequestError([Problem("loss.kind", "no such loss")]), 1)
    assert (failure.rank, failure.problems, failure.traceback) == (1, ("loss.kind: no such loss",), ())


def test_a_secret_of_the_environment_is_in_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    try:
        raise RuntimeError("401 for hf_abcdefghijklmnop")
    except RuntimeError as error:
        failure = describe(error, 0)
    assert "hf_abcdefghijklmnop" not in failure.message + "".join(failure.traceback)
    assert failure.traceback
