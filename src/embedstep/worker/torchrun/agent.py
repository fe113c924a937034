"""The processes of one node: `python -m embedstep.worker.torchrun.agent`, with the arguments of `node.main`.

Importing torchrun takes seconds, and so do the libraries of a rank. This module imports neither, so that both begin at
once.
"""

import os
import signal
import stat
import sys
import threading
from importlib import import_module
from queue import SimpleQueue

from embedstep.launch.instructions import TRAIN
from embedstep.runtime.cgroups import cgroup_memory
from embedstep.worker.torchrun.early_ranks import EarlyRanks


def read_launcher() -> "SimpleQueue[str]":
    """Return what the launcher writes, and end when it is gone, as after `kill -9`.

    Nobody would publish the model then, and GPUs would stay occupied. The launcher holds the other end of this
    process's standard input, which closes with it.
    """
    instructions: SimpleQueue[str] = SimpleQueue()
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        instructions.put(TRAIN)  # started by hand
        return instructions

    def read() -> None:
        # Not through sys.stdin: a thread that holds its lock blocks the interpreter's exit.
        while instruction := os.read(0, 4096):
            instructions.put(instruction.decode())
        os.write(2, b"the process that started this training is gone; ending the training\n")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, daemon=True).start()
    return instructions


if __name__ == "__main__":
    # Until `node` handles it, Ctrl-C ends this process without a traceback: nothing is there to be saved.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    launcher = read_launcher()
    memory = cgroup_memory()
    ranks = EarlyRanks.start(sys.argv[1:], os.environ)
    sys.exit(import_module("embedstep.worker.torchrun.node").main(sys.argv[1:], launcher, ranks, memory))
