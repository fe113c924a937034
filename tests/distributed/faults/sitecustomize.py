"""Faults for real processes: with this folder on PYTHONPATH, rank FAULT_RANK does FAULT when it comes to FAULT_AT.

FAULT_AT is `plan` (when the rank reads its plan, before there is a process group), `step` (in the middle of the
training, after a gradient exchange), `second save` (before the second checkpoint gets its name), `model` (after the
training) or `upload` (when a folder goes to the hub).

With ROWS_TO, each rank writes the rows of its steps into that folder, as its datasets give them to the loader. With
UPLOADS_TO, a stand-in for the hub, which no test may reach, writes what is uploaded into that file.

The product has no hook for this; Python imports `sitecustomize` by itself at every start, and so does a fork.
"""

import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def come_to_grief() -> None:
    """Do what FAULT says, if this is the rank; it may have begun before it had its number."""
    if os.environ.get("RANK", "0") != os.environ["FAULT_RANK"]:
        return
    match os.environ["FAULT"]:
        case "raise":
            raise ValueError("injected on this rank, with the token hf_abcdefghijklmnopqrstuvwxyz")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.stderr.write("these were its last words\n")
            os._exit(7)
        case "leave python":
            sys.exit(3)
        case "leave":
            os._exit(0)
        case "memory" | "torch memory" | "hoard" as how:
            run_out_of_memory(how)
        case "wait":
            Path(os.environ["FAULT_SIGN"]).touch()
            time.sleep(int(os.environ.get("FAULT_SECONDS", "120")))  # for as long, whatever signals come meanwhile


def run_out_of_memory(how: str) -> None:
    """Raise as Python or torch does, or take memory until the kernel ends this process."""
    if how == "memory":
        raise MemoryError("injected")
    if how == "torch memory":
        import torch

        torch.empty(2**62, dtype=torch.uint8)
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(1 << 20) * 16))


def at_plan() -> None:
    """Wait for the plan to be read."""
    from embedstep.output import result

    read = result.read_json

    def read_json(path: Path) -> Any:
        if path.name == "plan.json":
            come_to_grief()
        return read(path)

    result.read_json = read_json


class AtImport(importlib.abc.MetaPathFinder):
    """Waits for a module to be imported, and wraps one of its functions."""

    def __init__(self, module: str, owner: str, function: str, wrap: Callable[[Any], Any]) -> None:
        self.module, self.owner, self.function, self.wrap = module, owner, function, wrap

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Let the others find the module, and change what they load."""
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            owner = getattr(module, self.owner)
            setattr(owner, self.function, self.wrap(getattr(owner, self.function)))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def wrap_function(module: str, owner: str, function: str, wrap: Callable[[Any], Any]) -> None:
    """Wrap it now where this process was forked from one that has the module (tests/forking.py), or at its import.

    A fork runs this file again and has what its parent has wrapped: nothing is wrapped twice.
    """
    wrapped: set[tuple[str, str, str, str]] = sys.__dict__.setdefault("wrapped_by_tests", set())
    key = module, owner, function, wrap.__qualname__  # two faults may wrap one function
    if key in wrapped:
        return
    wrapped.add(key)
    if module in sys.modules:
        found = getattr(sys.modules[module], owner)
        setattr(found, function, wrap(getattr(found, function)))
    else:
        sys.meta_path.insert(0, AtImport(module, owner, function, wrap))


def fails_at(when: int) -> Callable[[Any], Any]:
    """Return what lets a function come to grief at a call."""

    def wrap(original: Any) -> Any:
        calls = iter(range(1, 1000))

        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(calls) == when:
                come_to_grief()
            return original(*arguments, **options)

        return wrapped

    return wrap


def fails_after_training(lap: Any) -> Any:
    """Return what notes the time of a part, and fails after the training."""

    def wrapped(clock: Any, name: str) -> None:
        lap(clock, name)
        if name == "train":
            come_to_grief()

    return wrapped


def records_rows(read: Any) -> Any:
    """Return a dataset's reading of rows that writes their numbers down."""

    def recorded(dataset: Any, rows: list[int]) -> Any:
        with Path(os.environ["ROWS_TO"], f"rank-{os.environ.get('RANK', 0)}.jsonl").open("a") as file:
            file.write(json.dumps(rows) + "\n")
        return read(dataset, rows)

    return recorded


def makes_repository(_: Any) -> Any:
    """Return what `HfApi.create_repo` is here."""
    return lambda hub, repo_id, **options: SimpleNamespace(repo_id=repo_id)


def keeps_uploads(_: Any) -> Any:
    """Return what `HfApi.upload_folder` is here."""

    def upload_folder(hub: Any, **options: Any) -> str:
        files = [path.name for path in Path(options["folder_path"]).iterdir()]
        with Path(os.environ["UPLOADS_TO"]).open("a") as file:
            file.write(json.dumps({"repo_id": options["repo_id"], "files": files}) + "\n")
        return ""

    return upload_folder


HUB = "huggingface_hub.hf_api"
if os.environ.get("UPLOADS_TO"):
    wrap_function(HUB, "HfApi", "create_repo", makes_repository)
    wrap_function(HUB, "HfApi", "upload_folder", keeps_uploads)
if os.environ.get("ROWS_TO"):
    wrap_function("embedstep.worker.trainer.trainer", "ConcatenatedDatasets", "__getitems__", records_rows)
if os.environ.get("FAULT") and "embedstep.worker" in sys.orig_argv:
    match os.environ.get("FAULT_AT", "plan"):
        case "plan":
            at_plan()
        case "step":
            wrap_function("transformers.trainer", "Trainer", "training_step", fails_at(3))
        case "second save":
            module = "embedstep.worker.trainer.publisher"
            wrap_function(module, "CheckpointPublisher", "_publish", fails_at(2))
        case "model":
            module = "embedstep.worker.train"
            wrap_function(module, "_Clock", "lap", fails_after_training)
        case "upload":
            wrap_function(HUB, "HfApi", "upload_folder", fails_at(1))
