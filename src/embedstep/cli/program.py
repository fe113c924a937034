"""The command line: all commands, and the program that runs them."""

import gc
from typing import Any, NoReturn

# Imported because each of them adds its commands to `main`.
from embedstep.cli import cluster, documents, explain, facts, init, models, schedule, task, train  # noqa: F401
from embedstep.cli.options import main as main
from embedstep.errors import OK
from embedstep.runtime.exit import exit_now


def program() -> NoReturn:
    """The `embedstep` program.

    Garbage collection is off while modules are imported: they make next to none, and looking for it takes 0.03 s, a
    good part of the time of `check`.
    """
    gc.disable()
    try:
        main()
        code: Any = OK
    except SystemExit as end:
        code = end.code
    exit_now(code if isinstance(code, int) else OK)


if __name__ == "__main__":
    program()
