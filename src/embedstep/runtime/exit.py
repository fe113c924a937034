"""How each of our programs ends: the command line, a worker, and the sender of records."""

import os
import sys
from typing import NoReturn


def exit_now(code: int) -> NoReturn:
    """End this process at once, now that everything is written, without taking the loaded modules apart.

    That takes 0.08 s after `check` and 0.8 s where MLflow was loaded. After a training it can take forever: gloo's
    thread gives back tensors, for which it needs the interpreter's lock, while the interpreter waits for that thread.

    Args:
        code: the code to end in.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
