"""One rank: `torchrun ... -m embedstep.worker OUTPUT`. Its input is in the output folder."""

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from embedstep.launch.instructions import START_FILE
from embedstep.output.folder import OutputFolder
from embedstep.output.result import read_json, write_json
from embedstep.runtime.exit import exit_now, run_exit_handlers
from embedstep.runtime.process import ReceivedSignal
from embedstep.runtime.world import World, clear_torchrun_env
from embedstep.worker.failures import describe
from embedstep.worker.interruption import ignore_signals
from embedstep.worker.torchrun.early_ranks import become_rank

_PR_SET_PDEATHSIG = 1
"""From Linux's prctl(2)."""
_POLL_SECONDS = 0.02
_SECONDS_TO_REPORT = 30.0
"""How long trackers of `report_to` may take to end their runs."""


def main(argv: list[str]) -> int:
    """Train, and write a failure where the launcher finds it.

    Args:
        argv: the output folder.
    """
    output = OutputFolder(Path(argv[0]))
    world = World()
    try:
        try:
            from embedstep.worker.train import train
        finally:  # also to report an error, because the launcher clears the folder before
            become_rank(os.environ)
            world = World.from_env(os.environ)
            wait_for_start(os.environ)
        if world.world_size == 1:
            clear_torchrun_env(os.environ)
        train(output, world, ReceivedSignal())
    except Exception as error:
        ignore_signals()  # torchrun ends all ranks after the first failure
        return _report(output, world, error)
    return 0


def wait_for_start(environ: Mapping[str, str]) -> None:
    """Wait for the plan, which is made while the libraries are imported; torchrun ends this process in other cases."""
    file = environ.get(START_FILE)
    while file is not None and not Path(file).exists():
        time.sleep(_POLL_SECONDS)


def _report(output: OutputFolder, world: World, error: Exception) -> int:
    """Write the failure to a file; the first rank to fail also prints it, since the others mostly follow from it."""
    failure = describe(error, world.rank)
    write_json(output.attempt / f"rank-{world.rank}.json", asdict(failure))
    try:
        with (output.attempt / "first_rank").open("x") as first:
            first.write(str(world.rank))
    except FileExistsError:
        return failure.exit_code
    if failure.traceback:
        what = f"rank {world.rank} failed first" if world.world_size > 1 else "the training failed"
        sys.stderr.write(f"{what}:\n{''.join(failure.traceback)}")
        sys.stderr.flush()
    return failure.exit_code


def is_reporting(output: OutputFolder, world: World) -> bool:
    """Return whether this process reports to trackers (`report_to`), some of which end a run as the process exits."""
    if not world.is_first:
        return False
    report_to = read_json(output.request)["request"]["arguments"].get("report_to")
    return bool(set([report_to] if isinstance(report_to, str) else report_to or []) - {"none", "mlflow", "azure_ml"})


def end_with_torchrun() -> None:
    """Have the kernel kill this process when torchrun dies: otherwise it would train for hours without a parent."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    # Until `record_signals`, Ctrl-C ends this process as SIGTERM does, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_torchrun()
    code = main(sys.argv[1:])
    logging.shutdown()
    if is_reporting(OutputFolder(Path(sys.argv[1])), World.from_env(os.environ)):
        run_exit_handlers(_SECONDS_TO_REPORT)
    exit_now(code)
