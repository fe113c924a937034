"""Faults for real processes: with this folder on PYTHONPATH, rank FAULT_RANK does FAULT when it reads its plan.

The product has no hook for this; Python imports `sitecustomize` by itself at every start.
"""

import os
import signal
from pathlib import Path
from typing import Any

if os.environ.get("FAULT") and os.environ.get("RANK") == os.environ.get("FAULT_RANK"):
    from embedstep import result

    read = result.read_json

    def read_json(path: Path) -> Any:
        """Read the file, and come to grief over the plan."""
        if path.name == "plan.json":
            match os.environ["FAULT"]:
                case "raise":
                    raise ValueError("injected on this rank, with the token hf_abcdefghijklmnopqrstuvwxyz")
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    os._exit(7)
                case "leave":
                    os._exit(0)
                case "memory":
                    raise MemoryError("injected")
        return read(path)

    result.read_json = read_json
