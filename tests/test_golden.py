"""What users hold on to, frozen: `make golden` rewrites the files, and the review sees the difference."""

import inspect
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from docs.arguments_page import arguments_page
from docs.code import component_functions, typed_arguments
from docs.glossary_page import glossary_page
from docs.pages import component_page, losses_page

from embedstep.cli.program import main
from embedstep.orchestration.components import COMPONENTS, Component
from embedstep.request.schema import TrainRequest
from tests.places import ROOT


def schema() -> str:
    return json.dumps(TrainRequest.model_json_schema(), indent=2) + "\n"


def command_line() -> str:
    pages = [
        ["--help"],
        *(
            [command, "--help"]
            for command in ("init", "check", "plan", "run", "explain", "schema", "arguments", "migrate")
        ),
    ]
    return "\n".join(CliRunner().invoke(main, page, prog_name="embedstep").output for page in pages)


def compiled(pipeline: Any) -> str:
    """What Kubeflow loads; its first lines show the version of its compiler."""
    from kfp.compiler import Compiler

    with TemporaryDirectory() as folder:
        file = Path(folder) / "compiled.yaml"
        Compiler().compile(pipeline, str(file))
        return file.read_text(encoding="utf-8")


def component_file(component: Component) -> str:
    from embedstep.orchestration.kfp import build_component

    return compiled(build_component(component))


def pipeline_file() -> str:
    from pipelines.kubeflow_retrain.pipeline import build_pipeline

    return compiled(build_pipeline((ROOT / "pipelines/requests/docstrings_minilm.yaml").read_text(encoding="utf-8")))


def page_of(component: Component) -> str:
    from embedstep.orchestration import kfp

    signature = inspect.signature(getattr(kfp, component.name))
    return component_page(component, f"{component.name}({', '.join(map(_shown, signature.parameters.values()))})")


def _shown(parameter: inspect.Parameter) -> str:
    match parameter.kind:
        case inspect.Parameter.VAR_KEYWORD:
            return f"**{parameter.name}"
        case _ if parameter.default is inspect.Parameter.empty or parameter.name == "image":
            return parameter.name
    return f"{parameter.name}={parameter.default}"


FILES: dict[str, Callable[[], str]] = {
    "tests/golden/request_schema.json": schema,
    "tests/golden/command_line.txt": command_line,
    "docs/losses.md": losses_page,
    "docs/arguments.md": arguments_page,
    "docs/glossary.md": glossary_page,
    "src/embedstep/orchestration/typed_arguments.py": typed_arguments,
    "src/embedstep/orchestration/kfp/functions.py": component_functions,
    **{f"components/{one.name}/component.yaml": partial(component_file, one) for one in COMPONENTS.values()},
    "pipelines/kubeflow_retrain/pipeline.yaml": pipeline_file,
    **{f"components/{one.name}/README.md": partial(page_of, one) for one in COMPONENTS.values()},
}


@pytest.mark.parametrize("path", FILES)
def test_golden(path: str) -> None:
    if os.environ.get("EMBEDSTEP_GOLDEN") == "rewrite":
        (ROOT / path).write_text(FILES[path](), encoding="utf-8")
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path](), "run `make golden` and look at the difference"
