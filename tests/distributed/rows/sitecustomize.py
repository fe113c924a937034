"""Rows of real processes: with this folder on PYTHONPATH, each rank writes the rows of its steps into ROWS_TO.

What is wrapped is the method by which the datasets give rows to the loader, so these are the rows that were read.
"""

import importlib.abc
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


class WhenImported(importlib.abc.MetaPathFinder):
    """Waits for the trainer's module, and lets its datasets tell what is read."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Let the others find the module, and change what they load."""
        if name != "embedstep.worker.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            read = module.ByDataset.__getitems__

            def told(dataset: Any, rows: list[int]) -> Any:
                with Path(os.environ["ROWS_TO"], f"rank-{os.environ.get('RANK', 0)}.jsonl").open("a") as file:
                    file.write(json.dumps(rows) + "\n")
                return read(dataset, rows)

            module.ByDataset.__getitems__ = told

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get("ROWS_TO"):
    sys.meta_path.insert(0, WhenImported())
