"""The one place that starts a process: it inherits the streams, forwards signals and gives back the child's code."""

import signal
import subprocess
from dataclasses import dataclass
from types import FrameType

from embedstep.errors import CannotStartError
from embedstep.launch.plan import LaunchPlan

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessEnd:
    """How a child ended.

    Attributes:
        code: its exit code; negative is the number of the signal that ended it.
        signalled: the signal that was sent to us meanwhile and forwarded, or None.
    """

    code: int
    signalled: int | None = None


def run_process(plan: LaunchPlan) -> ProcessEnd:
    """Run the planned command to its end.

    A SIGTERM, SIGINT or SIGHUP that arrives meanwhile goes on to the child, whose own end decides. The child leads a
    process group of its own, so that Ctrl-C at a terminal reaches it once and not twice.

    Raises:
        CannotStartError: the program could not be started.
    """
    received: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if child is not None:
            child.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        child = subprocess.Popen(plan.argv, env=dict(plan.env), process_group=0)
        if received:  # the signal came between installing the handler and having a child to hand it to
            child.send_signal(signal.SIGTERM)
        return ProcessEnd(code=child.wait(), signalled=received[0] if received else None)
    except OSError as error:
        raise CannotStartError(f"{plan.argv[0]} could not be started: {error.strerror}") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
