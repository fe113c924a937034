"""Turns an exception of a worker into plain data that another process can read and show."""

import os
import re
import socket
import traceback

from embedstep.errors import CANNOT_START, FAILED, INTERRUPTED, OUT_OF_MEMORY, EmbedstepError
from embedstep.launch.failures import NO_ANSWER, redacted_problems
from embedstep.output.folder import DISK_FULL_ERRNOS
from embedstep.output.result import Failure
from embedstep.runtime.secrets import redact

# Messages of the system, and of libraries written in Rust.
_FULL_DISK = re.compile(
    "|".join(
        [
            *(re.escape(os.strerror(number)) for number in DISK_FULL_ERRNOS),
            rf"os error ({'|'.join(map(str, DISK_FULL_ERRNOS))})\b",
        ]
    )
)
# torch's allocator for the CPU raises a plain RuntimeError.
_NO_MEMORY = re.compile(r"DefaultCPUAllocator: |Cannot allocate memory")
# Messages of gloo and NCCL when a peer process has ended.
_LOST_PEER = re.compile(r"(gloo|NCCL|nccl|c10d)[\s\S]*(closed by peer|reset by peer|Broken pipe|remote process exited)")
# Messages of both when a peer has not answered within arguments.ddp_timeout.
_NO_ANSWER = re.compile(
    r"Timed out waiting \d+ ?ms|wait timeout after \d+ ?ms|collective operation timeout"
    r"|Application timeout caused pair closure"
)


def describe(error: BaseException, rank: int | None) -> Failure:
    """Turn an exception of a worker into plain data, without secrets."""
    is_ours = isinstance(error, EmbedstepError)
    lines = () if is_ours else tuple(traceback.format_exception(error))
    return Failure(
        kind=NO_ANSWER if not is_ours and _NO_ANSWER.search(str(error)) else type(error).__name__,
        message=redact(str(error) or type(error).__name__, os.environ),
        exit_code=_exit_code(error),
        rank=rank,
        host=socket.gethostname(),
        problems=redacted_problems(error),
        traceback=tuple(redact(line, os.environ) for line in lines),
    )


def _exit_code(error: BaseException) -> int:
    if isinstance(error, EmbedstepError):
        return error.exit_code
    # By name, so that describing an error does not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _NO_MEMORY.search(str(error)):
        return OUT_OF_MEMORY
    if _FULL_DISK.search(str(error)):
        return CANNOT_START
    if _LOST_PEER.search(str(error)) or _NO_ANSWER.search(str(error)):
        # Whatever ended the peer, all processes have to restart from the last checkpoint.
        return INTERRUPTED
    return FAILED
