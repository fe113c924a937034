"""torchrun, and what it knows about failed ranks written down: `python -m embedstep.worker.torchrun OUTPUT ...`.

torchrun itself ends in exit code 1 and a traceback of its own, whatever happened; a rank that was killed leaves no
other trace. Here its arguments go through unchanged, and the codes and signals of the ranks go to `ranks.json`.
"""

import logging
import signal
import sys
from pathlib import Path

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from embedstep.errors import FAILED, INTERRUPTED
from embedstep.output import OutputFolder
from embedstep.result import write_json


def main(argv: list[str]) -> int:
    """Run torchrun with `argv[1:]` and return the code of the rank that failed first.

    Args:
        argv: the output folder, then torchrun's own arguments.
    """
    output = OutputFolder(Path(argv[0]))
    # The agent logs each failed rank again, with frames of its own; ranks.json and the rank's own words say it once.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun.run(torchrun.parse_args(argv[1:]))
    except ChildFailedError as error:
        ranks = [
            {"rank": rank, "exit_code": item.exitcode, "time": item.timestamp} for rank, item in error.failures.items()
        ]
        write_json(output.attempt / "ranks.json", sorted(ranks, key=lambda item: item["time"]))
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else FAILED
    except SignalException:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    # Until the workers run, a signal must end this process: the interpreter's default for SIGTERM does that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
