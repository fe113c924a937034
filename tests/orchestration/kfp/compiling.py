"""Pipelines as kfp compiles them."""

from pathlib import Path
from typing import Any

import yaml
from kfp import compiler


def compiled(pipeline: Any, folder: Path) -> dict[str, Any]:
    file = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(file))
    found: dict[str, Any] = next(iter(yaml.safe_load_all(file.read_text())))
    return found


def inputs_of_task(specification: dict[str, Any]) -> dict[str, Any]:
    """The constants that the one task of a pipeline is given."""
    (task,) = specification["root"]["dag"]["tasks"].values()
    return {
        name: value["runtimeValue"]["constant"]
        for name, value in task["inputs"]["parameters"].items()
        if "runtimeValue" in value
    }
