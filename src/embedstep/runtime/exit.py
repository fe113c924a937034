"""The exit of all programs of embedstep: the command line, the workers and the sender of records."""

import atexit
import os
import sys
from threading import Thread
from typing import NoReturn


def run_exit_handlers(seconds: float) -> None:
    """Run what libraries have registered with `atexit`, which `exit_now` skips; give up after some time.

    Weights & Biases and other services write the rest of a run there. They may wait for a server, or for a thread that
    never ends, and the exit code of a training must not.

    Args:
        seconds: how long they may take together.
    """
    thread = Thread(target=atexit._run_exitfuncs, daemon=True)
    thread.start()
    thread.join(seconds)


def exit_now(code: int) -> NoReturn:
    """Flush the output and exit without the interpreter's shutdown.

    The shutdown takes 0.08 s after `check`, and 0.8 s with MLflow loaded. After a training it can hang: gloo's thread
    needs the interpreter's lock to free tensors, while the interpreter waits for that thread.

    Args:
        code: exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
